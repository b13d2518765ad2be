//! Who may write what: approvals, and the admission policies that guard them.
mod admission;
mod approvers;
