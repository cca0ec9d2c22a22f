//! Named places around each durable write and each effect, at which a test can end the process or have the
//! write refused.
//!
//! - [`durable!`] stands around one call that makes something durable, or that a later one makes durable: a
//!   write, an fsync, a rename, a commit. A test can kill the process right before or right behind it, or have
//!   it answered with an error of the disk.
//! - [`effect!`] stands around one change of the world outside of our own files: a unit's job, a leadership
//!   handed over, a section handed out. A test can kill the process right before or right behind it.
//!
//! Without the feature `failpoints` both are the bare expression: no call, no branch, no name is left in the
//! program, and no environment variable is read. The kill matrix (`tests/kill-matrix`) builds with the feature;
//! its build refuses a durable write that stands outside of both macros.
//!
//! With the feature, two environment variables count:
//!
//! | variable | its file |
//! |---|---|
//! | `DRYDOCK_FAILPOINT_ARM` | is read at every point: `NAME NTH ACTION`, or empty, or missing |
//! | `DRYDOCK_FAILPOINT_LOG` | gets a line `NAME before` and `NAME after` at every point that is passed, `NAME fired` when it did |
//!
//! NTH counts from 1 and from the moment that the file says something new. The actions:
//!
//! | action | what happens at the NTH passing |
//! |---|---|
//! | `kill-before` | SIGKILL, and the work is not done |
//! | `kill-after` | SIGKILL, and the work is done |
//! | `enospc`, `eio` | the work is not done and answers with that error |
//! | `late-eio` | the work is done and answers with EIO: what an fsync that failed may leave |

#[cfg(feature = "failpoints")]
mod armed;

#[cfg(feature = "failpoints")]
#[doc(hidden)]
pub use armed::{after, before};

/// A durable write: `durable!("NAME", WORK)`, where WORK is an expression of type `io::Result<_>` (or another whose
/// error is made from an `io::Error`), or `durable!("NAME", CONVERT, WORK)` with the way from an
/// `io::Error` to the error.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! durable {
    ($name:literal, $work:expr $(,)?) => {
        $work
    };
    ($name:literal, $convert:expr, $work:expr $(,)?) => {
        $work
    };
}

/// A change of the world outside: `effect!("NAME", WORK)`, where WORK is any expression, also one that awaits.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! effect {
    ($name:literal, $work:expr $(,)?) => {
        $work
    };
}

/// A durable write: `durable!("NAME", WORK)`, where WORK is an expression of type `io::Result<_>` (or another whose
/// error is made from an `io::Error`), or `durable!("NAME", CONVERT, WORK)` with the way from an
/// `io::Error` to the error.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! durable {
    ($name:literal, $work:expr $(,)?) => {
        $crate::durable!($name, ::core::convert::From::from, $work)
    };
    ($name:literal, $convert:expr, $work:expr $(,)?) => {
        match $crate::before($name) {
            Err(error) => Err($convert(error)),
            Ok(()) => {
                let done = $work;
                match $crate::after($name) {
                    Err(error) if done.is_ok() => Err($convert(error)),
                    _ => done,
                }
            }
        }
    };
}

/// A change of the world outside: `effect!("NAME", WORK)`, where WORK is any expression, also one that awaits.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! effect {
    ($name:literal, $work:expr $(,)?) => {{
        // Only a write can be refused; what an effect answers when it fails is its own test's.
        let _ = $crate::before($name);
        let done = $work;
        let _ = $crate::after($name);
        done
    }};
}

#[cfg(test)]
mod tests;
