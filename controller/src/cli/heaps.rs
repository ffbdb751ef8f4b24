//! Memory that sessions give back goes back to the system.
//!
//! A session brings dozens of threads, and glibc gives threads heaps of their own, eight for each core: what is freed in
//! one of them is seldom given back, so the program would grow with every change of the model to several times what it
//! uses. Two heaps, and larger pieces straight from the system, keep it near what it uses.
//!
//! Decision: glibc takes this from the environment, at its start. So the program starts itself anew, as the same
//! process, before it has done anything; what the operator has set stands.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn limit() {
    use std::os::unix::process::CommandExt;

    use crate::config::env::HEAPS;

    if HEAPS
        .iter()
        .any(|(name, _)| std::env::var_os(name).is_some())
    {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let error = std::process::Command::new(program)
        .args(std::env::args_os().skip(1))
        .envs(HEAPS)
        .exec();
    // Nothing was lost by trying.
    tracing::debug!(%error, "the allocator stays as it is");
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn limit() {}
