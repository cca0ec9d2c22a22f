//! `prometheus`: a query that Prometheus answers, asked by the coordinator itself, is within its bounds.
//!
//! An instant query of the HTTP API (`GET /api/v1/query`). Every series of the answer must lie within the bounds;
//! an answer without a series is unknown and not clear, for a metric that nobody scrapes any more looks the same.
//! A query that Prometheus cannot read is refused: it will not become better.

mod query;

use std::{collections::BTreeMap, fmt::Write as _};

use drydock_core::recipe::PrometheusCheck;
use drydock_types::Verdict;
use serde::Deserialize;

/// Observes and judges.
pub(super) async fn verdict(config: &PrometheusCheck) -> Verdict {
    let answer = query::query(&config.url, &config.query).await;
    judge(&answer.and_then(|answer| read(answer.status, &answer.body)), config)
}

/// Can this be asked?
///
/// # Errors
/// A text for people.
pub(crate) fn is_url(url: &str) -> Result<(), String> {
    query::target(url, "up").map(drop)
}

/// One series at the moment of the query.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// `node_load1{instance="ctl-1:9100"}`.
    pub series: String,
    /// Its value; may be no number.
    pub value: f64,
}

/// Why there are no samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// Prometheus will not have the query, and would not have it again.
    Refused(String),
    /// It could not be asked, or its answer could not be read.
    Unknown(String),
}

/// Every series within its bounds is clear.
#[must_use]
pub fn judge(answer: &Result<Vec<Sample>, Unanswered>, config: &PrometheusCheck) -> Verdict {
    let samples = match answer {
        Ok(samples) => samples,
        Err(Unanswered::Refused(why)) => return Verdict::Refused(why.clone()),
        Err(Unanswered::Unknown(why)) => return Verdict::Unknown(why.clone()),
    };
    if samples.is_empty() {
        return Verdict::Unknown(format!("Prometheus knows no series for {}", config.query));
    }
    for Sample { series, value } in samples {
        if let Some(bound) = config.above.filter(|bound| *value <= bound.value()) {
            return Verdict::Waiting(format!("{series} is {value}, and must be above {bound}"));
        }
        if let Some(bound) = config.below.filter(|bound| *value >= bound.value()) {
            return Verdict::Waiting(format!("{series} is {value}, and must be below {bound}"));
        }
    }
    match samples.iter().find(|sample| sample.value.is_nan()) {
        Some(Sample { series, .. }) => Verdict::Unknown(format!("{series} is not a number")),
        None => Verdict::Clear,
    }
}

/// What Prometheus answers. Keys that it adds one day are passed over.
#[derive(Deserialize)]
struct Body {
    status: String,
    data: Option<Data>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Series>),
    Scalar((f64, String)),
    Matrix(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    /// Missing for a native histogram.
    value: Option<(f64, String)>,
}

/// The samples of an answer.
///
/// # Errors
/// See [`Unanswered`].
fn read(status: u16, body: &[u8]) -> Result<Vec<Sample>, Unanswered> {
    let unknown = |what: String| Unanswered::Unknown(what);
    let read: Body = serde_json::from_slice(body)
        .map_err(|error| unknown(format!("the answer ({status}) is not Prometheus's: {error}")))?;
    let said = read.error.as_deref().unwrap_or("it does not say why");
    if read.error_type.as_deref() == Some("bad_data") {
        return Err(Unanswered::Refused(format!("Prometheus cannot read the query: {said}")));
    }
    if status != 200 || read.status != "success" {
        return Err(unknown(format!("Prometheus did not answer the query ({status}): {said}")));
    }
    match read.data {
        Some(Data::Vector(list)) => list.into_iter().map(sample).collect(),
        Some(Data::Scalar((_, value))) => {
            Ok(vec![Sample { series: "the query".to_string(), value: number(&value)? }])
        }
        Some(Data::Matrix(_) | Data::String(_)) => {
            let what =
                "the query gives neither a number nor one number a series: it has to be an instant query";
            Err(Unanswered::Refused(what.to_string()))
        }
        None => Err(unknown("the answer has no data".to_string())),
    }
}

fn sample(series: Series) -> Result<Sample, Unanswered> {
    let name = in_words(&series.metric);
    let Some((_, value)) = series.value else {
        return Err(Unanswered::Refused(format!(
            "{name} is a histogram: ask for a number, as histogram_quantile gives"
        )));
    };
    Ok(Sample { value: number(&value)?, series: name })
}

fn number(text: &str) -> Result<f64, Unanswered> {
    text.parse().map_err(|_| Unanswered::Unknown(format!("{text:?} is no value of Prometheus's")))
}

fn in_words(metric: &BTreeMap<String, String>) -> String {
    let mut words = metric.get("__name__").cloned().unwrap_or_default();
    let labels = metric.iter().filter(|(key, _)| *key != "__name__");
    let labels: Vec<String> = labels.map(|(key, value)| format!("{key}={value:?}")).collect();
    if !labels.is_empty() || words.is_empty() {
        let _ = write!(words, "{{{}}}", labels.join(","));
    }
    words
}

#[cfg(test)]
mod tests;
