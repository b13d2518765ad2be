//! What the chart makes, and helm.
use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{SYSTEM, TEAM, path};

/// The path of helm.
pub fn helm() -> PathBuf {
    built("helm")
}

/// The path of a program that `build.sh` provides.
pub fn built(name: &str) -> PathBuf {
    let output =
        Command::new(path("tests/support/servers/build.sh")).arg(name).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "tests/support/servers/build.sh {name} failed");
    let printed = String::from_utf8(output.stdout).unwrap();
    PathBuf::from(printed.trim().split_once('=').unwrap_or_else(|| panic!("{printed}")).1)
}

/// What the chart makes for the requesters' namespace, with these additional values.
pub fn chart(values: &[&str]) -> Vec<Value> {
    let mut command = Command::new(helm());
    command.args(["template", "credreset", "--skip-tests", "--namespace", SYSTEM]).arg(path("charts/credreset"));
    for value in [&format!("namespaces={{{TEAM}}}").as_str()].into_iter().chain(values) {
        command.args(["--set", value]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout).unwrap()).unwrap()
}

/// What the chart adds where the API server has mutating admission policies: the writer of annotation `credreset.dev/filed-by`.
pub fn filed_by() -> Vec<Value> {
    let mut command = Command::new(helm());
    command.args(["template", "credreset", "--show-only", "templates/admission.yaml", "--api-versions"]);
    command.arg("admissionregistration.k8s.io/v1/MutatingAdmissionPolicy").arg(path("charts/credreset"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: Vec<Value> = serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    all.into_iter().filter(|object| object["metadata"]["name"] == "credreset-filed-by").collect()
}

/// What `helm template` makes of the chart with these values, or its message.
pub fn template(values: &[&str]) -> Result<Vec<Value>, String> {
    template_of("credreset", SYSTEM, values)
}

/// The same for a release of this name in this namespace.
pub fn template_of(release: &str, namespace: &str, values: &[&str]) -> Result<Vec<Value>, String> {
    let mut command = Command::new(helm());
    command.args(["template", release, "--namespace", namespace]).arg(path("charts/credreset"));
    for value in values {
        command.args(["--set-json", value]);
    }
    let output = command.output().unwrap();
    if !output.status.success() {
        return Err(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)));
    }
    Ok(serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout).unwrap()).unwrap())
}
