//! OVN's controller on one chassis, and when it has caught up.
//!
//! The generation is OVN's own counter: whoever wants to know raises it (`ovn-nbctl --wait=hv sync` does, and so do those who
//! manage networks), northd hands it to the southbound database, and each ovn-controller writes there how far it has come.

use alloc::{format, string::String};

use serde::{Deserialize, Serialize};

/// What says in the local database of Open vSwitch whether a chassis follows a northd of another version.
pub const MATCH_NORTHD: &str = "ovn-match-northd-version";

/// ovn-controller on one chassis. It knows nothing of how it was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OvnView {
    /// The version that the running ovn-controller answers; or why it does not.
    pub version: Result<String, String>,
    /// `connected`, `not connected`: its own word on the southbound database.
    pub connection: Result<String, String>,
    /// The chassis' name.
    pub chassis: String,
    /// The bridge that it writes flows to.
    pub bridge: String,
    /// How many flows that has.
    pub flows: Result<u64, String>,
    /// Does the chassis refuse to follow a northd of another version (`ovn-match-northd-version`)?
    pub matches_northd: bool,
    /// What the southbound database has of it; or why that cannot be read from the node.
    pub southbound: Result<Southbound, String>,
}

/// What the southbound database has of a chassis, of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Southbound {
    /// The generation that it asks for.
    pub wanted: u64,
    /// The generation that this chassis has put into effect; `None` where the database knows no such chassis.
    pub reached: Option<u64>,
    /// northd's version, its schema's and its actions', such as `23.03.1-20.27.0-70.6`; `None` before northd ever ran.
    pub northd: Option<String>,
}

impl OvnView {
    /// The generation at which this chassis and the southbound database agree.
    ///
    /// A controller that was started anew has the generation of the one before it: that it has done something itself, other
    /// evidence must show.
    ///
    /// # Errors
    /// Why they do not, or why that cannot be seen.
    pub fn caught_up(&self) -> Result<u64, String> {
        if let Err(why) = &self.version {
            return Err(format!("ovn-controller does not answer: {why}"));
        }
        match self.connection.as_deref() {
            Ok("connected") => {}
            Ok(word) => {
                return Err(format!(
                    "ovn-controller says {word:?} of its connection to the southbound database"
                ));
            }
            Err(why) => return Err(format!("ovn-controller does not say whether it is connected: {why}")),
        }
        if let Some(why) = self.stands_still() {
            return Err(why);
        }
        let seen = self
            .southbound
            .as_ref()
            .map_err(|why| format!("the southbound database cannot be read from the node: {why}"))?;
        match (seen.wanted, seen.reached) {
            (wanted, Some(reached)) if wanted == reached => Ok(reached),
            (wanted, Some(reached)) => Err(format!(
                "the southbound database asks for {wanted}, chassis {} is at {reached}",
                self.chassis
            )),
            (_, None) => Err(format!("the southbound database knows no chassis {}", self.chassis)),
        }
    }

    /// It follows a northd of its own version only, and northd has another one: why it does nothing until one of them
    /// changes. Its flows stay as they are meanwhile.
    #[must_use]
    pub fn stands_still(&self) -> Option<String> {
        let (Ok(mine), Some(northd)) = (&self.version, self.northd()) else { return None };
        let release = northd.split('-').next().unwrap_or(northd);
        (self.matches_northd && release != mine).then(|| {
            format!("ovn-controller {mine} stands still: northd is {northd}, and {MATCH_NORTHD} is set on chassis {}", self.chassis)
        })
    }

    /// northd's version, where it is known.
    #[must_use]
    pub fn northd(&self) -> Option<&str> {
        self.southbound.as_ref().ok()?.northd.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned as _;

    use super::*;

    fn view(change: impl FnOnce(&mut OvnView)) -> OvnView {
        let southbound =
            Southbound { wanted: 7, reached: Some(7), northd: Some("23.03.1-20.27.0-70.6".to_owned()) };
        let mut view = OvnView {
            version: Ok("23.03.1".to_owned()),
            connection: Ok("connected".to_owned()),
            chassis: "n1".to_owned(),
            bridge: "br-int".to_owned(),
            flows: Ok(145),
            matches_northd: false,
            southbound: Ok(southbound),
        };
        change(&mut view);
        view
    }

    fn southbound(view: &mut OvnView) -> &mut Southbound {
        view.southbound.as_mut().unwrap()
    }

    #[test]
    fn it_has_caught_up_when_both_name_one_generation() {
        assert_eq!(view(|_| {}).caught_up(), Ok(7));
        for (view, word) in [
            (view(|it| southbound(it).reached = Some(6)), "asks for 7, chassis n1 is at 6"),
            // A database that was restored asks for less than was reached.
            (view(|it| southbound(it).reached = Some(9)), "asks for 7, chassis n1 is at 9"),
            (view(|it| southbound(it).reached = None), "knows no chassis n1"),
            (view(|it| it.southbound = Err("no route".to_owned())), "cannot be read from the node: no route"),
            (view(|it| it.connection = Ok("not connected".to_owned())), "\"not connected\""),
            (view(|it| it.connection = Err("hangs".to_owned())), "hangs"),
            (view(|it| it.version = Err("gone".to_owned())), "does not answer: gone"),
        ] {
            let why = view.caught_up().unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn it_stands_still_only_where_it_is_told_to_and_northd_is_another() {
        assert_eq!(view(|it| it.matches_northd = true).stands_still(), None);
        assert_eq!(
            view(|it| southbound(it).northd = Some("23.09.1-20.28.0-71".to_owned())).stands_still(),
            None
        );
        let still = view(|it| {
            it.matches_northd = true;
            // The generations agree, for nobody has asked for another one yet.
            southbound(it).northd = Some("23.03.10-20.27.0-70.6".to_owned());
        });
        let why = still.caught_up().unwrap_err();
        assert!(why.contains("northd is 23.03.10") && why.contains(MATCH_NORTHD), "{why}");
        let unknown = view(|it| {
            it.matches_northd = true;
            southbound(it).northd = None;
        });
        assert_eq!(unknown.stands_still(), None);
    }
}
