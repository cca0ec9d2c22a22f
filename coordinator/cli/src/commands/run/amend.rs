//! `drydock run approve|amend|skip|extend RUN`: what a plan allows to be changed while it runs.

use std::str::FromStr;

use clap::Args;
use drydock_proto::operator::{
    AmendConcurrency, AmendRunRequest, AmendSoak, ApproveWave, ExtendNode, NoWindow, SkipNode, WaveName,
    amend_run_request::Change,
};
use drydock_types::{Invalid, Label, Millis, NodeName, Sha256};

use super::Ask;
use crate::{
    client,
    error::{CliError, Exit},
    render,
};

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The run's number: said, never guessed
    #[arg(value_name = "RUN", value_parser = clap::value_parser!(u64).range(1..))]
    run: u64,
    /// The wave; the one that waits when left out
    #[arg(long, value_name = "STAGE/WAVE")]
    wave: Option<Wave>,
    /// The plan as you saw it, by its digest or the first digits of that: refused when it was amended since
    #[arg(long, value_name = "DIGEST")]
    digest: Option<DigestStart>,
}

#[derive(Debug, Args)]
pub(crate) struct AmendArgs {
    /// The run's number: said, never guessed
    #[arg(value_name = "RUN", value_parser = clap::value_parser!(u64).range(1..))]
    run: u64,
    /// The wave; the one at work when left out
    #[arg(long, value_name = "STAGE/WAVE")]
    wave: Option<Wave>,
    /// soak=5m, concurrency=2 or window=none
    #[arg(value_name = "CHANGE")]
    change: Amendment,
}

#[derive(Debug, Args)]
pub(crate) struct SkipArgs {
    /// The run's number: said, never guessed
    #[arg(value_name = "RUN", value_parser = clap::value_parser!(u64).range(1..))]
    run: u64,
    /// The node that is left out
    #[arg(long, value_name = "NODE")]
    node: NodeName,
}

#[derive(Debug, Args)]
pub(crate) struct ExtendArgs {
    /// The run's number: said, never guessed
    #[arg(value_name = "RUN", value_parser = clap::value_parser!(u64).range(1..))]
    run: u64,
    /// The node that has longer
    #[arg(long, value_name = "NODE")]
    node: NodeName,
    /// How much longer than its present deadline: 30m
    #[arg(value_name = "TIME", value_parser = Millis::parse)]
    more: Millis,
}

/// `etcd/members`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wave {
    stage: Label,
    wave: Label,
}

impl FromStr for Wave {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("wave", text, "write it as STAGE/WAVE: etcd/members");
        let (stage, wave) = text.split_once('/').filter(|(_, wave)| !wave.contains('/')).ok_or_else(wrong)?;
        Ok(Self { stage: Label::parse(stage)?, wave: Label::parse(wave)? })
    }
}

impl Wave {
    fn name(&self) -> WaveName {
        WaveName { stage: self.stage.to_string(), wave: self.wave.to_string() }
    }
}

/// The first digits of a digest, as many as screens show of it or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DigestStart(String);

impl DigestStart {
    /// As many as two plans of one run are told apart by.
    const SHORTEST: usize = 8;

    fn begins(&self, digest: &Sha256) -> bool {
        digest.to_string().starts_with(&self.0)
    }
}

impl FromStr for DigestStart {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !hex || !(Self::SHORTEST..=64).contains(&text.len()) {
            return Err(Invalid::new(
                "digest",
                text,
                "copy it from `drydock why`: 8 to 64 digits, 0-9 and a-f",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What is amended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Amendment {
    Soak(Millis),
    Concurrency(u32),
    NoWindow,
}

impl FromStr for Amendment {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |why| Invalid::new("amendment", text, why);
        match text.split_once('=') {
            Some(("soak", time)) => Millis::parse(time).map(Self::Soak),
            Some(("concurrency", count)) => match count.parse() {
                Ok(count @ 1..) => Ok(Self::Concurrency(count)),
                Ok(0) | Err(_) => Err(wrong("concurrency is a number of nodes, at least 1")),
            },
            Some(("window", "none")) => Ok(Self::NoWindow),
            Some(("window", _)) => Err(wrong("a window can only be done without: window=none")),
            _ => Err(wrong("write soak=5m, concurrency=2 or window=none; anything else takes another plan")),
        }
    }
}

pub(super) async fn approve(args: ApproveArgs, ask: &Ask) -> Result<Exit, CliError> {
    let client = client::connect(&ask.global).await?;
    // What is approved is the plan as it is shown: one that is amended in this moment is looked at again.
    let seen = client.run(args.run).await?;
    if let Some(wanted) = args.digest.as_ref().filter(|wanted| !wanted.begins(&seen.digest)) {
        let (number, now) = (args.run, seen.digest.short());
        let what = format!("run {number} stands at digest {now} now, and what you saw is {}", wanted.0);
        return Err(CliError::failed(what).hint(format!("look at it again:  drydock run show {number}")));
    }
    let wave = args.wave.as_ref().map(Wave::name);
    let change = Change::Approve(ApproveWave { wave, digest: seen.digest.0.to_vec() });
    amended(&client, args.run, change, ask).await
}

pub(super) async fn amend(args: AmendArgs, ask: &Ask) -> Result<Exit, CliError> {
    let wave = args.wave.as_ref().map(Wave::name);
    let change = match args.change {
        Amendment::Soak(soak) => Change::Soak(AmendSoak { wave, soak_ms: soak.0 }),
        Amendment::Concurrency(concurrency) => Change::Concurrency(AmendConcurrency { wave, concurrency }),
        Amendment::NoWindow if wave.is_some() => {
            return Err(CliError::usage("the window is the whole run's: leave --wave out"));
        }
        Amendment::NoWindow => Change::NoWindow(NoWindow {}),
    };
    amended(&client::connect(&ask.global).await?, args.run, change, ask).await
}

pub(super) async fn skip(args: SkipArgs, ask: &Ask) -> Result<Exit, CliError> {
    let change = Change::Skip(SkipNode { node_name: args.node.to_string() });
    amended(&client::connect(&ask.global).await?, args.run, change, ask).await
}

pub(super) async fn extend(args: ExtendArgs, ask: &Ask) -> Result<Exit, CliError> {
    let change = Change::Extend(ExtendNode { node_name: args.node.to_string(), more_ms: args.more.0 });
    amended(&client::connect(&ask.global).await?, args.run, change, ask).await
}

async fn amended(client: &client::Client, run: u64, change: Change, ask: &Ask) -> Result<Exit, CliError> {
    let view = client.amend(AmendRunRequest { run, change: Some(change) }).await?;
    ask.screen.show(&view, render::standing::amended)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_is_a_stage_and_its_own_name() {
        assert!("etcd/members/a".parse::<Wave>().is_err(), "no stage and no wave has a slash in its name");
        assert_eq!("etcd/members".parse::<Wave>().unwrap().name().stage, "etcd");
        for bad in ["etcd", "/members", "etcd/", "a b/c"] {
            assert!(bad.parse::<Wave>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_digits_of_a_digest_are_enough_and_fewer_are_not() {
        let digest = Sha256::of(b"a plan");
        let whole = digest.to_string();
        assert!(whole.parse::<DigestStart>().unwrap().begins(&digest));
        assert!(digest.short().parse::<DigestStart>().unwrap().begins(&digest));
        assert!(!Sha256::of(b"another").short().parse::<DigestStart>().unwrap().begins(&digest));
        for bad in ["", "abcdef0", "ABCDEF01", "abcdefgh", &format!("{whole}0")] {
            assert!(bad.parse::<DigestStart>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_but_what_can_be_amended_is_read() {
        assert_eq!("soak=5m".parse(), Ok(Amendment::Soak(Millis::secs(300))));
        assert_eq!("concurrency=2".parse(), Ok(Amendment::Concurrency(2)));
        assert_eq!("window=none".parse(), Ok(Amendment::NoWindow));
        for bad in ["soak", "soak=", "soak=long", "concurrency=0", "concurrency=25%", "window=all", "to=2.0"]
        {
            assert!(bad.parse::<Amendment>().is_err(), "{bad}");
        }
    }
}
