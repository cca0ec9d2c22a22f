//! Our mark on a Node: an annotation that says whose cordon it is and how it is undone.
//!
//! Rule 5 hangs on it: a cordon is taken back only where this very mark of this fleet's run stands beside it. The
//! cordon and the mark are set by one patch, so that there is never one without the other by our doing.
//!
//! The words for undoing it are in the mark, because whoever finds it may have no coordinator any more (rule 10).
//!
//! | module | what lives there |
//! |---|---|
//! | [`before`] | beside the mark: how many pods were ready before the first was evicted |

pub mod before;

use drydock_types::{Epoch, FleetId, NodeName, RunId};
use serde::{Deserialize, Serialize};

use crate::objects::Node;

/// The annotation's key.
pub const KEY: &str = "drydock/mark";
/// No mark of ours is longer, in bytes; what is longer is not read.
const MOST_BYTES: usize = 4096;

/// A mark, as it stands in the annotation (JSON).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mark {
    /// Whose.
    pub fleet: FleetId,
    /// For which run.
    pub run: RunId,
    /// The node by Drydock's name.
    pub node: NodeName,
    /// Of which coordinator.
    pub epoch: Epoch,
    /// The Node was cordoned before, by somebody else, and stays so afterwards.
    pub was_cordoned: bool,
    /// How it is undone without a coordinator.
    pub undo: String,
}

/// Who is about to mark a Node, or has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Whose.
    pub fleet: FleetId,
    /// For which run.
    pub run: RunId,
    /// The node by Drydock's name.
    pub node: NodeName,
    /// Of which coordinator.
    pub epoch: Epoch,
}

impl Mark {
    /// As it stands in the annotation.
    #[must_use]
    pub fn text(&self) -> String {
        // Through a value: plain fields always make one, and a cordon is never left without its mark.
        serde_json::json!(self).to_string()
    }

    /// Beside it stands what was ready [`before`]: it is undone with it.
    #[must_use]
    pub fn with_before(mut self) -> Self {
        self.undo.push_str(&format!(" {}-", before::KEY));
        self
    }
}

impl Marker {
    /// The mark for a Node of that name.
    #[must_use]
    pub fn mark(&self, kubernetes_name: &str, was_cordoned: bool) -> Mark {
        let uncordon =
            if was_cordoned { String::new() } else { format!("kubectl uncordon {kubernetes_name} && ") };
        Mark {
            fleet: self.fleet,
            run: self.run,
            node: self.node.clone(),
            epoch: self.epoch,
            was_cordoned,
            undo: format!("{uncordon}kubectl annotate node {kubernetes_name} {KEY}-"),
        }
    }
}

/// What stands on a Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No mark.
    None,
    /// This run's, set under this coordinator's epoch or an earlier one.
    Ours(Mark),
    /// Another run's of this fleet.
    OtherRun(Mark),
    /// This run's for another node: the Node was bound to another one then.
    OtherNode(Mark),
    /// This run's, set by a coordinator that came after this one.
    LaterCoordinator(Mark),
    /// Another fleet's.
    OtherFleet(Mark),
    /// Nothing that this version of Drydock writes.
    Illegible(String),
}

impl Found {
    /// Whose mark keeps us off, for a person. `None` where nothing does.
    #[must_use]
    pub fn in_the_way(&self) -> Option<String> {
        let whose = match self {
            Self::None | Self::Ours(_) => return None,
            Self::OtherRun(mark) => format!("the mark of run {} of this fleet, for {}", mark.run, mark.node),
            Self::OtherNode(mark) => format!("this run's mark, for another node ({})", mark.node),
            Self::LaterCoordinator(mark) => {
                format!("this run's mark by a later coordinator (epoch {})", mark.epoch.0)
            }
            Self::OtherFleet(mark) => format!("the mark of another fleet ({}, run {})", mark.fleet, mark.run),
            Self::Illegible(why) => {
                return Some(format!(
                    "an annotation {KEY} that cannot be read ({why}); if nobody needs it, remove it with \
                     `kubectl annotate node NODE {KEY}-`"
                ));
            }
        };
        let undo = match self {
            Self::OtherRun(mark)
            | Self::OtherNode(mark)
            | Self::LaterCoordinator(mark)
            | Self::OtherFleet(mark) => mark.undo.as_str(),
            Self::None | Self::Ours(_) | Self::Illegible(_) => "",
        };
        Some(format!("{whose}; it is undone by `{}`", one_line(undo)))
    }
}

/// Reads a Node's mark, whosever it is. `Err` says why it cannot be read; `None`: there is none.
#[must_use]
pub fn read(node: &Node) -> Option<Result<Mark, String>> {
    let text = node.metadata.annotations.get(KEY)?;
    if text.len() > MOST_BYTES {
        return Some(Err(format!("it has {} bytes", text.len())));
    }
    Some(serde_json::from_str(text).map_err(|why| one_line(&why.to_string())))
}

/// Reads a Node's mark, as whoever marks would.
#[must_use]
pub fn found(node: &Node, marker: &Marker) -> Found {
    let mark = match read(node) {
        None => return Found::None,
        Some(Ok(mark)) => mark,
        Some(Err(why)) => return Found::Illegible(why),
    };
    if mark.fleet != marker.fleet {
        Found::OtherFleet(mark)
    } else if mark.run != marker.run {
        Found::OtherRun(mark)
    } else if mark.node != marker.node {
        Found::OtherNode(mark)
    } else if mark.epoch > marker.epoch {
        Found::LaterCoordinator(mark)
    } else {
        Found::Ours(mark)
    }
}

/// Other people's text for a person: one line, cut.
fn one_line(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> Marker {
        Marker {
            fleet: FleetId([1; 16]),
            run: RunId([2; 16]),
            node: NodeName::parse("k-1").unwrap(),
            epoch: Epoch(7),
        }
    }

    fn node(annotation: Option<&str>) -> Node {
        let mut node: Node = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "k-1", "uid": "u", "resourceVersion": "1"},
        }))
        .unwrap();
        node.metadata.annotations.extend(annotation.map(|text| (KEY.to_owned(), text.to_owned())));
        node
    }

    fn json(mark: &Mark) -> String {
        mark.text()
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = marker().mark("k-1", false);
        assert_eq!(found(&node(Some(&json(&mark))), &marker()), Found::Ours(mark));
        assert_eq!(found(&node(None), &marker()), Found::None);
    }

    #[test]
    fn only_this_runs_mark_for_this_node_by_this_coordinator_or_an_earlier_one_is_ours() {
        let mark = marker().mark("k-1", false);
        let find = |mark: &Mark| found(&node(Some(&json(mark))), &marker());
        let earlier = Mark { epoch: Epoch(6), ..mark.clone() };
        assert_eq!(find(&earlier), Found::Ours(earlier.clone()));
        for (other, word) in [
            (Mark { fleet: FleetId([9; 16]), ..mark.clone() }, "another fleet"),
            (Mark { run: RunId([9; 16]), ..mark.clone() }, "the mark of run 0909"),
            (Mark { node: NodeName::parse("k-2").unwrap(), ..mark.clone() }, "another node (k-2)"),
            (Mark { epoch: Epoch(8), ..mark.clone() }, "later coordinator (epoch 8)"),
        ] {
            let said = find(&other).in_the_way().unwrap();
            assert!(said.contains(word), "{said}");
            assert!(said.contains("kubectl uncordon k-1"), "{said}");
        }
        assert_eq!(Found::Ours(mark).in_the_way(), None);
    }

    #[test]
    fn a_mark_that_cannot_be_read_is_never_taken_for_ours() {
        let mut unknown: serde_json::Value = serde_json::to_value(marker().mark("k-1", true)).unwrap();
        unknown["more"] = 1.into();
        let long = format!("{:>5000}", json(&marker().mark("k-1", true)));
        for text in ["", "null", "{}", "[]", "yes", unknown.to_string().as_str(), long.as_str()] {
            let found = found(&node(Some(text)), &marker());
            assert!(matches!(found, Found::Illegible(_)), "{text}: {found:?}");
            assert!(found.in_the_way().unwrap().contains("kubectl annotate node NODE drydock/mark-"));
        }
    }

    #[test]
    fn the_words_for_undoing_do_not_uncordon_what_was_cordoned_before() {
        assert!(marker().mark("k-1", false).undo.starts_with("kubectl uncordon k-1"));
        let mark = marker().mark("k-1", true);
        assert_eq!(mark.undo, "kubectl annotate node k-1 drydock/mark-");
        assert_eq!(mark.with_before().undo, "kubectl annotate node k-1 drydock/mark- drydock/replacements-");
    }
}
