//! `gst-scope model export`: a diffusers folder becomes a folder of ONNX graphs, compared with torch.
//!
//! The work is done by a Python program that is part of this one (`plugins/scopediffusion/export`), in an environment
//! of its own that [`super::python`] sets up. What it says on stdout is passed on; libraries talk on stderr, where one
//! marked line says why it failed.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::CommandError;
use super::python::{self, Python};

/// What to export, and as what. The result is a folder for `model-dir` or the models folder.
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// Diffusers folder of a Stable Diffusion 1, 2, XL, Turbo or LCM model, or `owner/name` on the hub
    #[arg(value_name = "SRC")]
    source: String,
    /// Folder to write; must not exist yet
    out: PathBuf,
    /// `float16` (timestep, and what would overflow, stay in float32) or `float32`
    #[arg(long, default_value = "float16", value_parser = ["float16", "float32"])]
    precision: String,
    /// Folder of a TAESD in diffusers' layout, in place of the model's own autoencoder
    #[arg(long, value_name = "DIR")]
    taesd: Option<PathBuf>,
    /// IP-Adapter file (or its folder): the network then takes reference images
    #[arg(long, value_name = "PATH")]
    ip_adapter: Option<PathBuf>,
    /// Folder of the IP-Adapter's image encoder, if it is not `image_encoder` beside it
    #[arg(long, value_name = "DIR", requires = "ip_adapter")]
    image_encoder: Option<PathBuf>,
    /// LoRA file whose scale becomes an input of the network, free to change with every frame; may be repeated
    #[arg(long, value_name = "FILE")]
    lora_inputs: Vec<PathBuf>,
    /// The only picture size, as 512x512: lets a GPU prepare for it; otherwise any size goes
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<(u32, u32)>,
    /// The only number of rows that a call of the network has; otherwise any number goes
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    rows: Option<u32>,
    /// Also write fused copies of the heavy graphs, which run on CUDA alone; they take as much room again
    #[arg(long)]
    cuda: bool,
    /// Python with the packages already in it, in place of an environment set up here
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
}

macro_rules! program {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../../plugins/scopediffusion/export/", $name)),
        )
    };
}

/// The program, file by file.
const PROGRAM: &[(&str, &str)] = &[
    program!("__main__.py"),
    program!("adapters.py"),
    program!("draft.py"),
    program!("expand.py"),
    program!("fused.py"),
    program!("graphs.py"),
    program!("live.py"),
    program!("model.py"),
    program!("precision.py"),
    program!("source.py"),
    program!("step.py"),
    program!("trouble.py"),
    program!("verify.py"),
];

/// How the line begins that says why it failed; see the program's `trouble.py`.
const MARK: &str = "export-error: ";
/// Lines of a library's complaint that are shown when nothing better is known.
const LAST_WORDS: usize = 12;

pub(super) fn run(wish: &Export) -> Result<(), CommandError> {
    // Before minutes are spent on an environment; the program looks again.
    if wish.out.exists() {
        let sentence = format!("`{}` exists already", wish.out.display());
        let remedy = "name a folder that does not exist yet, or remove that one";
        return Err(CommandError::new(&sentence, remedy));
    }
    let python = python::find(wish.python.as_deref())?;
    let home = unpack()?;
    carry_out(&python, home.path(), wish)
}

/// Writes the program where Python can find it; gone when the value is.
fn unpack() -> Result<tempfile::TempDir, CommandError> {
    let failed = |err: std::io::Error| {
        CommandError::new(
            &format!("the export program cannot be unpacked: {err}"),
            "make room in the folder for temporary files ($TMPDIR)",
        )
    };
    let home = tempfile::Builder::new()
        .prefix("gst-scope-export-")
        .tempdir()
        .map_err(failed)?;
    for (name, text) in PROGRAM {
        std::fs::write(home.path().join(name), text).map_err(failed)?;
    }
    Ok(home)
}

fn carry_out(python: &Python, program: &Path, wish: &Export) -> Result<(), CommandError> {
    let mut child = Command::new(python.path())
        .arg("-u")
        .arg(program)
        .args(words(wish))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|err| python.does_not_start(&err))?;
    let stderr = child.stderr.take().expect("it was asked for above");
    let mut lines: Vec<String> = Vec::new();
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        if lines.len() == LAST_WORDS {
            lines.remove(0);
        }
        lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
    let status = child.wait().map_err(|err| python.does_not_start(&err))?;
    match status.success() {
        true => Ok(()),
        false => Err(reason(&lines, &status.to_string())),
    }
}

/// The program's own arguments.
fn words(wish: &Export) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["--precision".into(), wish.precision.clone().into()];
    let mut option = |name: &str, value: OsString| words.extend([name.into(), value]);
    let paths = [
        ("--taesd", &wish.taesd),
        ("--ip-adapter", &wish.ip_adapter),
        ("--image-encoder", &wish.image_encoder),
    ];
    for (name, path) in paths {
        if let Some(path) = path {
            option(name, path.into());
        }
    }
    for path in &wish.lora_inputs {
        option("--lora-inputs", path.into());
    }
    if let Some((width, height)) = wish.size {
        option("--size", format!("{width}x{height}").into());
    }
    if let Some(rows) = wish.rows {
        option("--rows", rows.to_string().into());
    }
    if wish.cuda {
        words.push("--cuda".into());
    }
    // Last, and behind a sign that no name is an option, whatever it begins with.
    words.extend([
        "--".into(),
        wish.source.clone().into(),
        wish.out.clone().into(),
    ]);
    words
}

/// Why it failed, from what it said last.
fn reason(lines: &[String], status: &str) -> CommandError {
    let told = lines.iter().rev().find_map(|line| {
        let told: serde_json::Value = serde_json::from_str(line.strip_prefix(MARK)?).ok()?;
        let part = |key: &str| told.get(key)?.as_str().map(str::to_owned);
        Some((part("error")?, part("hint")?))
    });
    match told {
        Some((sentence, hint)) => CommandError::new(&sentence, hint),
        None => CommandError::new(
            &format!("the export ended with {status}:\n{}", lines.join("\n")),
            "with signal 9 the system ran out of memory; anything else is an error of ours, please report it",
        ),
    }
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once('x');
    let sides = sides.and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let sound =
        |(width, height): &(u32, u32)| (16..=4096).contains(width) && (16..=4096).contains(height);
    sides
        .filter(sound)
        .ok_or_else(|| "write width and height in pixels, as 512x512".into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::super::Cli;
    use super::*;

    fn wish(more: &[&str]) -> Export {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            export: Export,
        }
        Alone::parse_from(["export", "source", "out"].iter().chain(more)).export
    }

    fn export(arguments: &[&str]) -> String {
        let line = ["gst-scope", "model", "export"].iter().chain(arguments);
        let cli = Cli::try_parse_from(line).map_err(|err| err.to_string());
        cli.map_or_else(|err| err, |cli| cli.run().unwrap_err().to_string())
    }

    #[test]
    fn a_folder_that_exists_is_refused_before_anything_else() {
        let out = tempfile::tempdir().unwrap();

        let refusal = export(&["a/b", out.path().to_str().unwrap(), "--python", "/nowhere"]);

        assert!(refusal.contains("exists already"), "{refusal}");
        assert!(refusal.contains("hint: name a folder"), "{refusal}");
    }

    #[test]
    fn options_that_are_none_are_refused() {
        assert!(export(&["a", "b", "--precision", "int4"]).contains("float16, float32"));
        assert!(export(&["a", "b", "--size", "big"]).contains("as 512x512"));
        assert!(export(&["a", "b", "--rows", "0"]).contains("1..=64"));
        assert!(export(&["a", "b", "--image-encoder", "c"]).contains("--ip-adapter"));
    }

    /// The interpreter of the tests has none of the packages.
    #[test]
    fn a_python_without_the_packages_is_told_which_it_lacks() {
        let out = tempfile::tempdir().unwrap();
        let target = out.path().join("model");

        let refusal = export(&[
            "a/b",
            target.to_str().unwrap(),
            "--python",
            "/usr/bin/python3",
        ]);

        assert!(refusal.contains("lacks torch"), "{refusal}");
        assert!(refusal.contains("hint: leave out --python"), "{refusal}");
        assert!(!target.exists());
    }

    #[test]
    fn the_program_is_complete() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/scopediffusion/export");
        let mut there: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(".py"))
            // These make the models of its tests.
            .filter(|name| !["tiny.py", "fixture.py", "test_export.py"].contains(&name.as_str()))
            .collect();
        there.sort();

        let embedded: Vec<_> = PROGRAM.iter().map(|(name, _)| *name).collect();
        assert_eq!(there, embedded);
    }

    #[test]
    fn what_was_asked_for_is_handed_on_and_names_are_no_options() {
        let wish = Export {
            source: "--help".into(),
            ..wish(&[
                "--lora-inputs",
                "ink",
                "--lora-inputs",
                "oil",
                "--size",
                "640x384",
                "--rows",
                "2",
                "--cuda",
            ])
        };

        let words: Vec<_> = words(&wish)
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect();

        let line = "--precision float16 --lora-inputs ink --lora-inputs oil --size 640x384 --rows 2 --cuda -- --help out";
        assert_eq!(words.join(" "), line);
    }

    #[test]
    fn the_marked_line_is_the_reason_and_libraries_are_not() {
        let lines = [
            "UserWarning: something".to_owned(),
            r#"export-error: {"error": "no unet", "hint": "add one"}"#.to_owned(),
            "Exception ignored in".to_owned(),
        ];

        assert_eq!(
            reason(&lines, "exit status: 3").to_string(),
            "no unet\nhint: add one"
        );
        let unknown = reason(&lines[..1], "signal: 9").to_string();
        assert!(
            unknown.contains("signal: 9") && unknown.contains("UserWarning"),
            "{unknown}"
        );
    }
}
