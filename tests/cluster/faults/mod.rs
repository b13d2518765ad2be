//! What breaks: processes, leaders, clocks, servers, answers, stored objects.
mod chaos;
mod clocks;
mod crashes;
mod endless;
mod leaders;
mod lost_state;
mod outages;
mod recovery;
mod two_operators;
