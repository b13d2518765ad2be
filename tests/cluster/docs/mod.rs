//! Pages whose commands are followed.
mod book;
mod tutorial;
