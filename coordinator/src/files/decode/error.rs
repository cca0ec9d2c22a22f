//! What serde says, on its way to a place.

use std::fmt::Display;

use serde::de;

use super::or_here;
use crate::files::diagnostic::{Diagnostic, Place};

/// An error of the reader.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It stands among the findings already.
    #[error("said already")]
    Said,
    /// A struct lacks a key; the struct's reader knows the words.
    #[error("missing key `{0}`")]
    Missing(&'static str),
    /// Anything else.
    #[error("{}", .0.message)]
    Fault(Box<Fault>),
}

/// What is wrong, and where, as soon as that is known.
#[derive(Debug)]
pub(crate) struct Fault {
    message: String,
    help: Option<String>,
    note: Option<String>,
    place: Option<Place>,
}

impl Error {
    fn fault(message: String, place: Option<Place>) -> Self {
        Self::Fault(Box::new(Fault { message, help: None, note: None, place }))
    }

    pub(super) fn place(place: &Place, message: String) -> Self {
        Self::fault(message, Some(place.clone()))
    }

    pub(super) fn help(mut self, help: Option<String>) -> Self {
        if let Self::Fault(fault) = &mut self {
            fault.help = help;
        }
        self
    }

    pub(super) fn note(mut self, note: String) -> Self {
        if let Self::Fault(fault) = &mut self {
            fault.note = Some(note);
        }
        self
    }

    /// It is about this place, unless it knows a closer one.
    pub(super) fn at(self, here: &Place) -> Self {
        match self {
            Self::Said => Self::Said,
            Self::Missing(field) => Self::place(here, format!("missing key `{field}`")),
            Self::Fault(mut fault) => {
                fault.place.get_or_insert_with(|| here.clone());
                Self::Fault(fault)
            }
        }
    }

    pub(super) fn into_diagnostic(self, here: &Place) -> Diagnostic {
        match self {
            Self::Fault(fault) => {
                let found = Diagnostic::at(&or_here(fault.place, here), fault.message).help(fault.help);
                match fault.note {
                    Some(note) => found.note(note),
                    None => found,
                }
            }
            other => Diagnostic::at(here, other.to_string()),
        }
    }
}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self::fault(message.to_string(), None)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}
