//! `credreset man`: writes manual pages.
use std::{fs, io::Write, path::PathBuf};

use anyhow::Context;
use clap_mangen::Man;

/// Flags of `credreset man`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  credreset man ~/.local/share/man/man1 && man credreset-plan")]
pub struct Args {
    /// Folder to write the pages to, such as /usr/local/share/man/man1; made if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes a page for credreset and one for each command.
///
/// # Errors
/// If the folder cannot be written to.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = &args.folder;
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be created", folder.display()))?;
    let mut all = super::command(None).disable_help_subcommand(true);
    all.build();
    let commands: Vec<clap::Command> = all.get_subcommands().cloned().collect();
    let names: Vec<String> = commands.iter().map(|command| format!("credreset-{}", command.get_name())).collect();
    for command in std::iter::once(all).chain(commands) {
        let name = match command.get_name() {
            "credreset" => "credreset".to_owned(),
            name => format!("credreset-{name}"),
        };
        let others: Vec<&str> = if name == "credreset" {
            names.iter().map(String::as_str).collect()
        } else {
            std::iter::once("credreset")
                .chain(names.iter().map(String::as_str).filter(|other| *other != name))
                .collect()
        };
        let path = folder.join(format!("{name}.1"));
        let written = page(command, &name, &others).and_then(|page| fs::write(&path, page).map_err(Into::into));
        written.with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

/// The page of a command, in roff.
fn page(command: clap::Command, name: &str, others: &[&str]) -> anyhow::Result<Vec<u8>> {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_commands = command.has_subcommands();
    let version = format!("credreset {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command).title(name).source(&version).manual("Credreset manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    let (notes, examples) = after.split_once("Examples:\n").unwrap_or((&after, ""));
    if !notes.trim().is_empty() {
        writeln!(page, ".SH NOTES\n{}", escaped(notes.trim()))?;
    }
    if !examples.is_empty() {
        writeln!(page, ".SH EXAMPLES\n.nf\n{}\n.fi", escaped(examples.trim_end()))?;
    }
    let others: Vec<String> = others.iter().map(|other| format!("\\fB{}\\fR(1)", escaped(other))).collect();
    writeln!(page, ".SH SEE ALSO\n{}", others.join(", "))?;
    Ok(page)
}

/// Text in roff: a backslash, a hyphen and a dot at the beginning of a line mean something else there.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines: Vec<String> = text
        .lines()
        .map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() })
        .collect();
    lines.join("\n")
}
