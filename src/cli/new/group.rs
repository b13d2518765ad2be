//! The members of a group, from the directory itself.
use anyhow::{anyhow, bail};

use super::Args;
use crate::{
    api::directory::ProviderSpec,
    cli::{sources::inventory::find, terminal::with_progress},
    core::{
        request::UserRef,
        text::{NAME, printable},
    },
    directory::members::GroupNotFound,
};

/// The users in `group`, as the operator's account at the directory sees them: the caller needs the right to read its Secret.
///
/// # Errors
/// Why the members are not known; also if there are none.
pub(super) async fn members(args: &Args, group: &str) -> anyhow::Result<Vec<UserRef>> {
    let Args { directory, directories, operator_namespace, access, .. } = args;
    let (inventory, objects) = find(Some(directory), directories.as_deref(), operator_namespace, access).await?;
    let Some(object) = objects.into_iter().next() else {
        bail!("there is no Directory {}", printable(directory, NAME))
    };
    // Before a right is asked for that would be of no use.
    if let ProviderSpec::Zoho(_) = object.spec.provider {
        bail!("Zoho Directory documents no way to list the members of a group: export them, and use --from-csv");
    }
    let credentials = inventory.credentials(&object.spec).await.map_err(anyhow::Error::msg)?;
    let provider = inventory.connect(&object.spec, &credentials)?;
    let asked = with_progress("asking the directory", Box::pin(provider.members(group))).await;
    let group = printable(group, NAME);
    let members = asked.map_err(|why| anyhow!("the members of group {group} could not be read: {} Of a large group, export the members and use --from-csv.", why.message))?;
    match members {
        Ok(members) if members.is_empty() => bail!("group {group} has no members that the operator's account sees"),
        Ok(members) => Ok(members),
        Err(GroupNotFound::Absent) => bail!(
            "Directory {directory} has no group {group} that the operator's account sees: write it as in the rules of the Directory"
        ),
        Err(GroupNotFound::Several(n)) => {
            bail!("Directory {directory} has {n} groups that {group} can mean: write more of its path or name")
        }
    }
}
