//! Two operators.
