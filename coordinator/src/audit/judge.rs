//! The walk along the lines, and what it finds. It keeps the last hash, the agents' heads and the certificates;
//! a record may be as long as it likes.

use std::collections::BTreeMap;

use drydock_proto::tls::key::certificate_from_pem;
use drydock_types::{NodeName, Sha256};

use super::{
    heads::{Heads, Restored},
    lines::{Begin, End, EventLine, Line, OtherLine, VERSION},
    outcomes::{self, Around, Certificates},
    view::{AuditView, Finding, Kind, MAX_FINDINGS, SilentView},
};
use crate::store::{chain_over, chain_start};

/// Documents that may stand before one event: an outcome and a certificate.
const MAX_DOCUMENTS: usize = 16;
/// Events that say that a coordinator was put in another's place, as many as are kept.
const MAX_RESTORED: usize = 64;

/// What whoever asks knows by himself.
#[derive(Debug, Clone, Default)]
pub struct Trusted {
    /// The CA's certificate, DER.
    pub ca: Option<Vec<u8>>,
    /// Or its SHA-256.
    pub pin: Option<Sha256>,
    /// What the agents were to sign.
    pub nonce: Option<Sha256>,
}

/// A walk in progress.
#[derive(Debug)]
pub struct Judge {
    trusted: Trusted,
    begin: Option<(Begin, Vec<u8>)>,
    end: Option<End>,
    /// The event that was last seen, and its hash as it stands there.
    at: (u64, Sha256),
    first: u64,
    events: u64,
    outcomes: u64,
    documents: BTreeMap<Sha256, String>,
    certificates: Certificates,
    heads: Heads,
    restored: Vec<Restored>,
    /// Where a row of events begins that a start of a coordinator leaves.
    start_at: Option<u64>,
    silent: Vec<SilentView>,
    findings: Vec<Finding>,
    more: u64,
    refused: u64,
}

impl Judge {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(trusted: Trusted) -> Self {
        Self {
            trusted,
            begin: None,
            end: None,
            at: (0, Sha256([0; 32])),
            first: 0,
            events: 0,
            outcomes: 0,
            documents: BTreeMap::new(),
            certificates: Certificates::default(),
            heads: Heads::default(),
            restored: Vec::new(),
            start_at: None,
            silent: Vec::new(),
            findings: Vec::new(),
            more: 0,
            refused: 0,
        }
    }

    fn finding(&mut self, kind: Kind, seq: Option<u64>, node: Option<NodeName>, what: String) {
        self.add(Finding { kind, seq, node, other: None, what });
    }

    fn add(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }

    /// Takes the next line.
    pub fn line(&mut self, line: Line) {
        if self.begin.is_none() && !matches!(line, Line::Begin(_)) {
            // Said once, at the end.
            return;
        }
        match line {
            Line::Begin(begin) => self.begin(begin),
            Line::Head(line) => {
                let Some((begin, ca)) = &self.begin else { return };
                let nonce = self.trusted.nonce.unwrap_or(begin.nonce);
                let took = self.heads.take(&line, nonce, begin.fleet, ca, &mut self.certificates);
                self.heads.pass(begin.after, begin.after_hash);
                if let Err(why) = took {
                    let what =
                        format!("what {} is said to keep of the record is not believed: {why}", line.node);
                    self.finding(Kind::Statement, None, Some(line.node), what);
                }
            }
            Line::Silent(line) => self.silent.push(SilentView { node: line.node, why: line.why }),
            Line::Document(text) => {
                if self.documents.len() < MAX_DOCUMENTS {
                    self.documents.insert(Sha256::of(text.as_bytes()), text);
                }
            }
            Line::Event(event) => self.event(&event),
            Line::Other(other) => self.other(&other),
            Line::Unreadable(line) => {
                let what = format!("event {} cannot be read: {}", line.seq, line.why);
                let seq = u64::try_from(line.seq).ok();
                self.finding(Kind::Edited, seq, None, what);
                // Its hash is not known: the next event's place in the chain is taken from that event.
                if let Some(seq) = seq.filter(|seq| *seq == self.at.0 + 1) {
                    self.at = (seq, Sha256([0; 32]));
                }
            }
            Line::End(end) => self.end = Some(end),
        }
    }

    fn begin(&mut self, begin: Begin) {
        if self.begin.is_some() {
            return self.finding(Kind::File, None, None, "it begins twice".to_owned());
        }
        if begin.version != VERSION {
            let what =
                format!("it is of form {}, and this build reads {VERSION}: use that build", begin.version);
            return self.finding(Kind::File, None, None, what);
        }
        let ca = match certificate_from_pem(&begin.ca) {
            Ok(ca) => ca.to_vec(),
            Err(why) => {
                return self.finding(Kind::Authority, None, None, format!("the CA's certificate: {why}"));
            }
        };
        let pin = Sha256::of(&ca);
        let other = self.trusted.ca.as_ref().is_some_and(|known| *known != ca)
            || self.trusted.pin.is_some_and(|known| known != pin);
        if other {
            let what = format!("the CA beside the record ({}) is not the one that you trust", pin.short());
            self.finding(Kind::Authority, None, None, what);
        }
        if self.trusted.nonce.is_some_and(|nonce| nonce != begin.nonce) {
            self.finding(Kind::File, None, None, "it answers another question than was asked".to_owned());
        }
        if begin.after == 0 && begin.after_hash != chain_start(begin.fleet) {
            let what = "the record does not begin where this fleet's record begins".to_owned();
            self.finding(Kind::Edited, Some(0), None, what);
        }
        self.at = (begin.after, begin.after_hash);
        // Judged by what is trusted; where nothing is known, by what the file says, and its pin is printed.
        let ca = self.trusted.ca.clone().unwrap_or(ca);
        self.begin = Some((begin, ca));
    }

    fn event(&mut self, line: &EventLine) {
        let digest = Sha256::of(line.event.as_bytes());
        let here =
            OtherLine { seq: line.seq, run: line.run, wall_ms: line.wall_ms, event: digest, hash: line.hash };
        self.step(&here);
        let Some((begin, ca)) = &self.begin else { return };
        let mut around = Around {
            fleet: begin.fleet,
            ca,
            certificates: &mut self.certificates,
            documents: &self.documents,
            wall_ms: line.wall_ms,
        };
        match outcomes::judge(&line.event, &mut around) {
            outcomes::Judged::Good => self.outcomes += 1,
            outcomes::Judged::Bad { kind, node, what } => {
                let at = node.as_ref().map(|node| format!(" of {node}")).unwrap_or_default();
                let what = format!("event {}{at}: {what}", line.seq);
                self.finding(kind, Some(line.seq), node, what);
            }
            outcomes::Judged::None => self.remark(line),
        }
        self.documents.clear();
    }

    /// Events that explain others.
    fn remark(&mut self, line: &EventLine) {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&line.event) else { return };
        let event = &value["event"];
        let of_a_start =
            ["restarted", "restored", "agentConnected"].iter().any(|kind| event.get(kind).is_some());
        self.start_at = of_a_start.then(|| self.start_at.unwrap_or(line.seq));
        if event.get("outcomeRefused").is_some() {
            self.refused += 1;
        }
        if let Some(restored) = event.get("restored")
            && let Some(to_epoch) = restored["to"].as_u64()
            && self.restored.len() < MAX_RESTORED
        {
            let by = restored["by"].as_str().unwrap_or("somebody").to_owned();
            let from_seq = self.start_at.unwrap_or(line.seq);
            self.restored.push(Restored { seq: line.seq, from_seq, by, to_epoch });
        }
    }

    fn other(&mut self, line: &OtherLine) {
        self.step(line);
        self.documents.clear();
    }

    /// One event along the chain. Behind one that is wrong the walk goes on from the hash that stands there: so
    /// each wrong one is named, and those that are right are found right.
    fn step(&mut self, line: &OtherLine) {
        let (before, hash) = self.at;
        let expected = before.saturating_add(1);
        if self.first == 0 {
            self.first = line.seq;
        }
        self.events += 1;
        self.at = (line.seq, line.hash);
        self.heads.pass(line.seq, line.hash);
        if line.seq != expected {
            let what = match line.seq {
                seq if seq <= before => format!("event {seq} stands behind event {before}"),
                seq if seq == expected + 1 => format!("event {expected} is missing"),
                seq => format!("events {expected} to {} are missing", seq - 1),
            };
            return self.finding(Kind::Missing, Some(expected), None, what);
        }
        let after_unreadable = hash == Sha256([0; 32]);
        let should = chain_over(hash, line.seq, line.run, line.wall_ms, line.event);
        if should != line.hash && !after_unreadable {
            let what = format!(
                "event {} of run {} does not follow on event {before}: it was edited or moved, or that one was edited \
                 together with its hash (its hash is {} and should be {})",
                line.seq,
                line.run,
                line.hash.short(),
                should.short()
            );
            self.finding(Kind::Edited, Some(line.seq), None, what);
        }
    }

    /// All lines were taken.
    #[must_use]
    pub fn finish(mut self) -> AuditView {
        let begin = self.begin.take();
        match (&begin, self.end) {
            (None, _) if self.findings.is_empty() => {
                self.finding(
                    Kind::File,
                    None,
                    None,
                    "this is no record: its first line is missing".to_owned(),
                );
            }
            (Some(_), None) => {
                let what =
                    format!("it ends in the middle, behind event {}: its last lines are missing", self.at.0);
                self.finding(Kind::File, Some(self.at.0), None, what);
            }
            (_, Some(end)) => self.ends(end),
            (None, None) => {}
        }
        let mut remarks = Vec::new();
        let mut heads = Vec::new();
        if let Some((begin, _)) = &begin {
            let judged = self.heads.judge(begin.fleet, begin.after, self.at.0, &self.restored);
            judged.findings.into_iter().for_each(|finding| self.add(finding));
            (heads, remarks) = (judged.heads, judged.remarks);
            if !self.heads.anchored() {
                let what = "no agent's word stands beside the record: that it is whole is its own word";
                remarks.push(what.to_owned());
            }
        }
        if self.refused > 0 {
            remarks.push(format!("{} outcomes were refused for want of a good signature", self.refused));
        }
        let ca = begin.as_ref().map(|(_, ca)| Sha256::of(ca));
        AuditView {
            fleet: begin.as_ref().map(|(begin, _)| begin.fleet),
            ca_pin: ca.or(self.trusted.pin).unwrap_or(Sha256([0; 32])),
            ca_known: self.trusted.ca.is_some() || self.trusted.pin.is_some(),
            run: begin.as_ref().and_then(|(begin, _)| begin.run),
            first: self.first,
            last: self.at.0,
            head: self.at.1,
            events: self.events,
            outcomes: self.outcomes,
            heads,
            silent: self.silent,
            findings: self.findings,
            more_findings: self.more,
            remarks,
        }
    }

    fn ends(&mut self, end: End) {
        let (last, hash) = self.at;
        if last != end.last_event {
            let what = format!("the record ends with event {last}; {} were written", end.last_event);
            return self.finding(Kind::Truncated, Some(last.min(end.last_event) + 1), None, what);
        }
        if hash != end.last_hash {
            let what = format!("event {last} is not the one that the last commit left at the record's end");
            self.finding(Kind::Edited, Some(last), None, what);
        }
    }
}
