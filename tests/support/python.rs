//! Python with a package from `PyPI`, in a virtual environment of its own.
use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

/// A Python that has `package` (`aiosmtpd==1.4.6`), in folder `name` of the cache. It is installed once; tests that come at the same time
/// wait for each other.
pub fn python(name: &str, package: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|v| !v.is_empty())
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache"), PathBuf::from);
    let cache = cache.join("credreset");
    fs::create_dir_all(&cache).unwrap();
    let script = "set -e; exec 9>\"$1/.$2.lock\"; flock 9; [ -e \"$1/$2/ready\" ] || { rm -rf \"$1/$2\"; python3 -m venv \"$1/$2\"; \
                  \"$1/$2/bin/pip\" install --quiet --disable-pip-version-check \"$3\"; touch \"$1/$2/ready\"; }";
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash"]).arg(&cache).args([name, package]).stdout(Stdio::null());
    assert!(
        bash.status().unwrap().success(),
        "{package} could not be installed: python3 -m venv, pip install {package}"
    );
    cache.join(name).join("bin/python")
}
