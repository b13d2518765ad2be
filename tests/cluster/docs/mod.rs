//! Pages whose commands are followed.
mod book;
mod install;
mod tutorial;
