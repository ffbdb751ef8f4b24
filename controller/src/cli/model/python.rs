//! The Python that the export program runs on: one that was named, or an environment that is set up here, once.
//!
//! The environment lies in `~/.local/share/scope-diffusion/export` and holds exactly the packages of the program's
//! `requirements.txt`. That file is copied into it last: an environment without the copy, or with another one, was left
//! half made or belongs to another version, and is gone on with.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::super::CommandError;
use crate::config::env;

/// The packages, pinned.
const REQUIREMENTS: &str =
    include_str!("../../../../plugins/scopediffusion/export/requirements.txt");
/// Oldest Python that all of them run on, minor version of 3.
const OLDEST: u32 = 11;
/// Pythons to look for, best first; the newest may be too new for a package.
const NAMES: [&str; 4] = ["python3.12", "python3.11", "python3.13", "python3"];
/// What the packages take on disk with their GPU libraries, for people.
const ROOM: &str = "about 6 GB";

/// An interpreter that starts and is new enough.
#[derive(Debug)]
pub(super) struct Python {
    path: PathBuf,
}

impl Python {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn does_not_start(&self, err: &std::io::Error) -> CommandError {
        does_not_start(&self.path, err)
    }
}

/// What has to be done before the environment can be used.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is complete and of this version.
    Use,
    /// There is none, or one that nobody finished, or one of another version.
    Make,
}

/// The Python to use; sets the environment up unless `named` or done before.
pub(super) fn find(named: Option<&Path>) -> Result<Python, CommandError> {
    if let Some(path) = named {
        return tried(path);
    }
    let home = home(|name| std::env::var_os(name).map(PathBuf::from)).ok_or_else(|| {
        CommandError::new(
            &"there is no home folder to set Python up in",
            "set HOME, or name an interpreter with --python",
        )
    })?;
    prepare(&home, REQUIREMENTS, &|| {
        let found = NAMES.iter().find_map(|name| tried(Path::new(name)).ok());
        found.map_or_else(|| tried(Path::new("python3")), Ok)
    })
}

/// Where the environment lies.
fn home(get: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let data = get(env::DATA_HOME)
        .filter(|path| path.is_absolute())
        .or_else(|| get(env::HOME).map(|home| home.join(".local/share")))?;
    Some(data.join("scope-diffusion/export"))
}

/// What to do about the environment in `home`.
fn next_step(home: &Path, requirements: &str) -> Step {
    let done = fs::read_to_string(home.join("requirements.txt"));
    let whole = done.is_ok_and(|done| done == requirements) && interpreter(home).exists();
    if whole { Step::Use } else { Step::Make }
}

fn interpreter(home: &Path) -> PathBuf {
    home.join("bin/python")
}

/// The environment in `home`, made if need be with the Python that `base` finds.
fn prepare(
    home: &Path,
    requirements: &str,
    base: &dyn Fn() -> Result<Python, CommandError>,
) -> Result<Python, CommandError> {
    let python = Python {
        path: interpreter(home),
    };
    match next_step(home, requirements) {
        Step::Use => Ok(python),
        Step::Make => make(home, requirements, &base()?).map(|()| python),
    }
}

#[expect(clippy::print_stderr, reason = "what the next minutes are spent on")]
fn make(home: &Path, requirements: &str, base: &Python) -> Result<(), CommandError> {
    eprintln!(
        "setting up Python for the export in {}: once, {ROOM}",
        home.display()
    );
    let failed = |err: std::io::Error| {
        CommandError::new(
            &format!("`{}` cannot be written: {err}", home.display()),
            "make room there, or name an interpreter with --python",
        )
    };
    fs::create_dir_all(home).map_err(failed)?;
    // First of all: what is half done must not look done.
    match fs::remove_file(home.join("requirements.txt")) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(failed(err)),
        Err(_) | Ok(()) => {}
    }
    // What an attempt that broke off has left is gone on with.
    if run(Command::new(interpreter(home)).args(["-m", "pip", "--version"])).is_err() {
        let mut venv = Command::new(base.path());
        venv.args(["-m", "venv", "--clear"]).arg(home);
        run(&mut venv).map_err(|said| {
            CommandError::new(
                &format!(
                    "Python's environment cannot be made in {}: {said}",
                    home.display()
                ),
                "install the module venv (Debian: python3-venv), or name an interpreter with --python",
            )
        })?;
    }
    let wanted = home.join("wanted.txt");
    fs::write(&wanted, requirements).map_err(failed)?;
    let mut pip = Command::new(interpreter(home));
    pip.args([
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar=off",
        "-r",
    ])
    .arg(&wanted);
    run_aloud(&mut pip).map_err(|said| {
        CommandError::new(
            &format!("the packages of the export cannot be installed: {said}"),
            "check the network and the disk and try again, which goes on from here; or install the packages elsewhere and \
             name that Python with --python",
        )
    })?;
    fs::rename(&wanted, home.join("requirements.txt")).map_err(failed)
}

/// Runs to the end; the last words of one that failed.
fn run(command: &mut Command) -> Result<(), String> {
    let done = command.stdin(Stdio::null()).output();
    let done = done.map_err(|err| err.to_string())?;
    match done.status.success() {
        true => Ok(()),
        false => Err(last_words(&done)),
    }
}

/// As [`run`], for pip: what it fetches is told as it goes, because that takes minutes.
#[expect(clippy::print_stderr, reason = "what the next minutes are spent on")]
fn run_aloud(pip: &mut Command) -> Result<(), String> {
    let mut child = pip
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|err| err.to_string())?;
    // It must not wait for room in one while the other is read.
    let errors = child.stderr.take().map(|errors| {
        std::thread::spawn(move || {
            let mut said = Vec::new();
            // What cannot be read any more is no reason to fail.
            let _ = BufReader::new(errors).read_to_end(&mut said);
            said
        })
    });
    let mut stdout = Vec::new();
    let lines = child.stdout.take().map(BufReader::new);
    for line in lines.into_iter().flat_map(|lines| lines.split(b'\n')) {
        let Ok(line) = line else { break };
        if let Some(step) = step_of(&String::from_utf8_lossy(&line)) {
            eprintln!("  {step}");
        }
        stdout.extend_from_slice(&line);
        stdout.push(b'\n');
    }
    let stderr = errors.and_then(|errors| errors.join().ok());
    let done = Output {
        status: child.wait().map_err(|err| err.to_string())?,
        stdout,
        stderr: stderr.unwrap_or_default(),
    };
    match done.status.success() {
        true => Ok(()),
        false => Err(last_words(&done)),
    }
}

/// What a line of pip's is about, if it is worth telling.
fn step_of(line: &str) -> Option<String> {
    let line = line.trim();
    if let Some(what) = line.strip_prefix("Downloading ") {
        let (address, size) = what.split_once(" (")?;
        let size = size.trim_end_matches(')');
        // All others are a matter of a moment.
        let is_large = size.ends_with("MB") || size.ends_with("GB");
        let file = address.rsplit('/').next().filter(|_| is_large)?;
        return Some(format!("fetching {file}, {size}"));
    }
    line.starts_with("Installing collected packages")
        .then(|| "installing what was fetched".into())
}

/// The line that says most: pip ends with advice, and says before it what went wrong.
fn last_words(done: &Output) -> String {
    let said = [done.stdout.as_slice(), done.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said);
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().rfind(|line| line.starts_with("ERROR:"));
    let line = error.or_else(|| lines().next_back());
    line.map_or_else(|| done.status.to_string(), str::to_owned)
}

/// An interpreter, if it starts and is new enough.
fn tried(path: &Path) -> Result<Python, CommandError> {
    let version = Command::new(path)
        .args(["-c", "import sys; print(*sys.version_info[:2])"])
        .stdin(Stdio::null())
        .output()
        .map_err(|err| does_not_start(path, &err))?;
    let text = String::from_utf8_lossy(&version.stdout);
    let mut numbers = text.split_whitespace().map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(3)), Some(Ok(minor))) if minor >= OLDEST => Ok(Python { path: path.into() }),
        (Some(Ok(major)), Some(Ok(minor))) => Err(CommandError::new(
            &format!("`{}` is Python {major}.{minor}", path.display()),
            format!("name Python 3.{OLDEST} or newer with --python"),
        )),
        _ => Err(CommandError::new(
            &format!(
                "`{}` is no Python: {}",
                path.display(),
                last_words(&version)
            ),
            format!("name Python 3.{OLDEST} or newer with --python"),
        )),
    }
}

fn does_not_start(path: &Path, err: &std::io::Error) -> CommandError {
    CommandError::new(
        &format!("the Python `{}` does not start: {err}", path.display()),
        format!(
            "install Python 3.{OLDEST} or newer (Debian: python3 and python3-venv), or name one with --python"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program that stands where Python is looked for.
    fn script(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("python");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn system() -> Result<Python, CommandError> {
        tried(Path::new("python3"))
    }

    #[test]
    fn the_environment_lies_with_the_data_of_programs() {
        let with = |data: Option<&str>| {
            home(|name| match name {
                env::DATA_HOME => data.map(PathBuf::from),
                _ => Some("/home/a".into()),
            })
        };

        assert_eq!(
            with(None).unwrap(),
            Path::new("/home/a/.local/share/scope-diffusion/export")
        );
        assert_eq!(
            with(Some("/data")).unwrap(),
            Path::new("/data/scope-diffusion/export")
        );
        // As the specification of that variable has it.
        assert_eq!(with(Some("data")), with(None));
        assert_eq!(home(|_| None), None);
    }

    #[test]
    fn an_environment_is_used_only_when_it_was_finished_and_is_of_this_version() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(next_step(home.path(), "a==1\n"), Step::Make);
        fs::create_dir(home.path().join("bin")).unwrap();
        fs::write(interpreter(home.path()), "").unwrap();
        assert_eq!(next_step(home.path(), "a==1\n"), Step::Make);

        fs::write(home.path().join("requirements.txt"), "a==1\n").unwrap();

        assert_eq!(next_step(home.path(), "a==1\n"), Step::Use);
        assert_eq!(next_step(home.path(), "a==2\n"), Step::Make);
    }

    #[test]
    fn a_real_environment_that_lacks_packages_is_unfinished_and_made_only_once() {
        let room = tempfile::tempdir().unwrap();
        let wheels = room.path().join("no-wheels-here");
        fs::create_dir(&wheels).unwrap();
        let requirements = format!(
            "--no-index\n--find-links {}\ntorch==2.15.0\n",
            wheels.display()
        );
        let home = room.path().join("export");

        let error = prepare(&home, &requirements, &system)
            .unwrap_err()
            .to_string();

        assert!(error.contains("torch==2.15.0"), "{error}");
        assert!(error.contains("hint: check the network"), "{error}");
        assert_eq!(next_step(&home, &requirements), Step::Make);

        // With others it goes on from there, and is made only once.
        let python = prepare(&home, "# nothing\n", &system).unwrap();
        tried(python.path()).unwrap();
        let never = || -> Result<Python, CommandError> { panic!("it is made already") };
        prepare(&home, "# nothing\n", &never).unwrap();

        // As when it was killed between two packages: what is there stays.
        fs::remove_file(home.join("requirements.txt")).unwrap();
        let kept = home.join("bin/kept");
        fs::write(&kept, "of the first attempt").unwrap();
        prepare(&home, "# nothing\n", &system).unwrap();
        assert!(kept.exists());
        assert_eq!(next_step(&home, "# nothing\n"), Step::Use);
    }

    #[test]
    fn what_takes_pip_long_is_told_and_nothing_else() {
        let line = "  Downloading https://example.org/packages/torch-2.15.0-cp311-cp311-manylinux_2_28_x86_64.whl (915.1 MB)";
        assert_eq!(
            step_of(line).as_deref(),
            Some("fetching torch-2.15.0-cp311-cp311-manylinux_2_28_x86_64.whl, 915.1 MB")
        );
        assert_eq!(
            step_of("  Downloading torch-2.15.0.whl.metadata (31 kB)"),
            None
        );
        assert_eq!(step_of("Downloading numpy-2.4.6.whl"), None);
        assert_eq!(step_of("Collecting torch==2.15.0"), None);
        assert!(step_of("Installing collected packages: numpy, torch").is_some());
    }

    #[test]
    fn an_environment_without_an_interpreter_is_made_from_scratch() {
        let room = tempfile::tempdir().unwrap();
        let path = script(room.path(), "echo \"$@\" >&2; exit 1");
        let home = room.path().join("export");
        fs::create_dir_all(home.join("bin")).unwrap();
        let base = move || Ok(Python { path: path.clone() });

        let error = prepare(&home, "", &base).unwrap_err().to_string();

        assert!(error.contains("-m venv --clear"), "{error}");
        assert_eq!(next_step(&home, ""), Step::Make);
    }

    #[test]
    fn what_is_no_python_or_too_old_is_refused_with_a_remedy() {
        let room = tempfile::tempdir().unwrap();
        let refusal = |path: &Path| tried(path).unwrap_err().to_string();

        assert!(refusal(Path::new("/nowhere/python")).contains("does not start"));
        assert!(
            refusal(&script(room.path(), "echo 3 9"))
                .contains("is Python 3.9\nhint: name Python 3.11")
        );
        assert!(
            refusal(&script(room.path(), "echo what >&2; exit 1")).contains("is no Python: what")
        );
    }

    #[test]
    fn without_venv_the_module_is_named() {
        let room = tempfile::tempdir().unwrap();
        let path = script(room.path(), "echo No module named venv >&2; exit 1");
        let base = move || Ok(Python { path: path.clone() });

        let error = prepare(&room.path().join("export"), "", &base)
            .unwrap_err()
            .to_string();

        assert!(
            error.contains("No module named venv") && error.contains("python3-venv"),
            "{error}"
        );
    }
}
