//! Hypervisors are upgraded under their running guests: libvirt, Open vSwitch, ovn-controller, through all nodes and
//! back, watched by pings from outside and compared with the same work by hand of the same run.
//!
//! | module | what lives here |
//! |---|---|
//! | [`site`] | the nodes, the archive, the fleet, plans and recipes |
//! | [`watch`] | pings and questions from outside, all the time; a run followed node by node |
//! | [`judge`] | what must be as before, what must be new, what must not be left, the table |
//! | [`story`] | the three stages and the way back |
//! | [`packages`] | a package that would go, a postinst that fails, a lock that is held, an archive that was changed |
//! | [`rest`] | what libvirt's restart waits for: a full `/run`, a migration in flight; a paused guest is let be |
//! | [`catch_up`] | an ovn-controller that finds no southbound database |
//! | [`check`] | what an operator sees of one: `node show`, and `check node` with faults |
//! | [`faults`] | those faults: how each is planted, named and mended |
//! | [`reload`] | Open vSwitch's reload, whose agent is killed in the middle |
//! | [`lost_flows`] | Open vSwitch's reload, which loses every flow |
//! | [`management`] | the node's own address on a bridge, and a new version that cuts it off |

mod catch_up;
mod check;
mod faults;
mod judge;
mod lost_flows;
mod management;
mod packages;
mod reload;
mod rest;
mod site;
mod story;
mod watch;

pub(super) use catch_up::play as catch_up;
pub(super) use check::play as check;
pub(super) use lost_flows::play as lost_flows;
pub(super) use management::play as management;
pub(super) use packages::play as packages;
pub(super) use reload::play as reload;
pub(super) use rest::play as rest;
pub(super) use story::play;
