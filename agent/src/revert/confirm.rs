//! After the change. Confirmed is: the section's own looks have passed (the executor's work), none of the
//! addresses, routes and rules of before is missing, that stayed so for a while, and after it the coordinator
//! was heard or a witness took a TCP connection.

use std::{io, net::SocketAddr, time::Duration};

use drydock_types::{Section, outcome::Evidence};
use futures_util::future::join_all;
use tokio::{
    net::{TcpStream, lookup_host},
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use super::{
    arm,
    place::{Place, State},
    plan::{Confirmed, Plan},
};
use crate::{
    actions::Problem,
    host::Host,
    sys::{http::Endpoint, network::Network},
};

/// How long one witness has.
const ANSWER: Duration = Duration::from_secs(2);
/// Before anybody's answer counts, the network must have stayed whole for this part of the limit, and for no more
/// than the time below: what was just started may need a moment until it does its harm.
const SETTLE_PART: u64 = 4;
const SETTLE_MOST: Duration = Duration::from_secs(10);
/// How often it is asked again.
const AGAIN: Duration = Duration::from_millis(200);

/// Confirms, as soon as it may be; or says why it could not be until the limit.
///
/// # Errors
/// When it could not be confirmed in time, or the revert was first.
pub async fn confirm(host: &Host, section: &Section) -> Result<Vec<Evidence>, Problem> {
    let place = Place::of(&host.state_dir);
    let plan = match place.state()? {
        State::Armed(plan) if plan.effect == section.effect => plan,
        State::Confirmed(done) if done.effect == section.effect => {
            return Ok(vec![Evidence::Confirmed { by: done.by, after: done.after }]);
        }
        _ => return Err(Problem::new("its revert is not armed any more")),
    };
    let until = Instant::now() + plan.left()?;
    let settle = Duration::from_millis(plan.within.0 / SETTLE_PART).min(SETTLE_MOST);
    let (mut whole_since, mut why) = (None, String::from("there was no time left to look"));
    while Instant::now() < until {
        match compare(&plan).await {
            Err(problem) => (whole_since, why) = (None, problem.what),
            Ok(network) => {
                let settled = *whole_since.get_or_insert_with(Instant::now) + settle;
                match answered(host, &plan, settled).await {
                    Ok(by) => {
                        let done = Confirmed { effect: plan.effect, by, after: arm::since(&plan)? };
                        if !place.confirm(&done)? {
                            return Err(Problem::new("its revert was quicker"));
                        }
                        return Ok(vec![network, Evidence::Confirmed { by: done.by, after: done.after }]);
                    }
                    Err(problem) => why = problem.what,
                }
            }
        }
        sleep(AGAIN).await;
    }
    Err(Problem::new(format!("it was not confirmed within {}: {why}", plan.within)))
}

/// Once: what is missing, what has come.
async fn compare(plan: &Plan) -> Result<Evidence, Problem> {
    let now = spawn_blocking(Network::look).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    let now = now.map_err(|error| {
        Problem::new(format!("the node's addresses, routes and rules cannot be read: {error}"))
    })?;
    let difference = plan.network.difference(&now);
    if !difference.nothing_lost() {
        return Err(Problem::new(format!("lost since the change: {}", difference.lost_lines().join(", "))));
    }
    Ok(Evidence::Network { lost: Vec::new(), gained: some(difference.gained_lines()) })
}

/// Who answers, once it has stayed whole for long enough.
async fn answered(host: &Host, plan: &Plan, settled: Instant) -> Result<String, Problem> {
    if Instant::now() < settled {
        return Err(Problem::new("the network has not stayed whole for long enough"));
    }
    if host.remote.heard_since(settled) {
        return Ok("the coordinator".into());
    }
    Ok(format!("witness {}", witness(host, &plan.witness).await?))
}

/// As many lines as an outcome has room for.
fn some(mut lines: Vec<String>) -> Vec<String> {
    const MOST: usize = 20;
    if lines.len() > MOST {
        let more = lines.len() - MOST;
        lines.truncate(MOST);
        lines.push(format!("and {more} more"));
    }
    lines
}

/// A witness that takes a connection now. All are asked at once.
///
/// # Errors
/// When none does, or none may be asked.
pub async fn witness(host: &Host, witnesses: &[String]) -> Result<String, Problem> {
    let asked = join_all(witnesses.iter().map(|witness| ask(host, witness))).await;
    let mut why = Vec::new();
    for (witness, answer) in witnesses.iter().zip(asked) {
        match answer {
            Ok(()) => return Ok(witness.clone()),
            Err(problem) => why.push(format!("{witness}: {}", problem.what)),
        }
    }
    match why.is_empty() {
        true => Err(Problem::new("no witness is named")),
        false => Err(Problem::new(format!("no witness answers ({})", why.join("; ")))),
    }
}

async fn ask(host: &Host, witness: &str) -> Result<(), Problem> {
    let endpoint = Endpoint::parse(witness).map_err(|error| Problem::new(error.to_string()))?;
    if endpoint.is_loopback() {
        return Err(Problem::new("that is this node itself, which says nothing of the way out"));
    }
    host.policy.may_ask(&endpoint)?;
    let connect = async {
        let addresses: Vec<SocketAddr> =
            lookup_host((endpoint.host.as_str(), endpoint.port)).await?.collect();
        TcpStream::connect(&addresses[..]).await
    };
    let stream = match timeout(ANSWER, connect).await {
        Ok(connected) => connected.map_err(|error| Problem::new(error.to_string()))?,
        Err(_) => return Err(Problem::new(format!("no connection within {ANSWER:?}"))),
    };
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(own), Ok(peer)) if own.ip() != peer.ip() => Ok(()),
        _ => Err(Problem::new("that is this node itself, which says nothing of the way out")),
    }
}
