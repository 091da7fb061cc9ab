//! A served lake, seen from outside: what clients get, what they do not get, and what no client can do to the others.

mod hostile;
mod http;
mod lake;
mod postgres;
mod wire;
