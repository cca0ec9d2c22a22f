//! Puts back what was lost, and takes away what is in its way. Done twice it does no harm.

use std::{
    io,
    time::{Duration, Instant},
};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkFlags, LinkMessage},
};

use super::{Link, Network, entry::Kind, wire};

/// How often it is looked whether all is there: a link needs a moment until it carries routes.
const AGAIN: Duration = Duration::from_millis(50);

/// What was put back, and what could not be.
#[derive(Debug, Default)]
pub struct PutBack {
    /// For people, as [`super::Difference::lost_lines`].
    pub done: Vec<String>,
    /// For people, with the system's word.
    pub failed: Vec<String>,
}

/// Brings the network back to how it stood. Tries for as long as `within` says and is over as soon as nothing
/// is missing. Blocks.
///
/// # Errors
/// When the network cannot be looked at.
#[expect(clippy::disallowed_methods, reason = "nothing announces that a link is ready to carry a route")]
pub fn put_back(before: &Network, within: Duration) -> io::Result<PutBack> {
    let (until, mut done) = (Instant::now() + within, Vec::new());
    loop {
        let now = Network::look()?;
        let difference = before.difference(&now);
        let in_the_way: Vec<_> =
            difference.gained.iter().filter_map(|entry| entry.remove_if_in_the_way()).collect();
        if difference.nothing_lost() && in_the_way.is_empty() {
            return Ok(PutBack { done, failed: Vec::new() });
        }
        let mut failed = Vec::new();
        let mut note = |line: String, tried: io::Result<()>| match tried {
            Ok(()) if !done.contains(&line) => done.push(line),
            Ok(()) => {}
            Err(error) => failed.push(format!("{line} ({error})")),
        };
        for link in &difference.down {
            note(format!("link {} up", link.name), up(link));
        }
        for message in in_the_way {
            // Its going away may have been somebody else's doing by now.
            let _ = wire::change(&message, 0);
        }
        for kind in [Kind::Address, Kind::Rule, Kind::Route] {
            for entry in difference.lost.iter().filter(|entry| entry.kind == kind) {
                let tried = match entry.make() {
                    Some(message) => wire::change(&message, NLM_F_CREATE | NLM_F_REPLACE),
                    None => Err(io::Error::other("its message cannot be read")),
                };
                note(entry.text.clone(), tried);
            }
        }
        if Instant::now() >= until {
            let now = Network::look()?;
            let missing = before.difference(&now).lost_lines();
            let why = |lost: &String| failed.iter().find(|line| line.starts_with(lost.as_str())).cloned();
            let failed = missing
                .iter()
                .map(|lost| why(lost).unwrap_or_else(|| format!("{lost} (it does not stay)")))
                .collect();
            return Ok(PutBack { done, failed });
        }
        std::thread::sleep(AGAIN);
    }
}

fn up(link: &Link) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    wire::change(&RouteNetlinkMessage::SetLink(message), 0)
}
