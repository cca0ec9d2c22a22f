use drydock_types::PackageName;

use super::*;

fn change(name: &str, from: Option<&str>, to: Option<&str>) -> Change {
    let version = |text: &str| Version::parse(text).unwrap();
    Change {
        name: PackageName::parse(name).unwrap(),
        architecture: "amd64".into(),
        from: from.map(version),
        to: to.map(version),
        new: None,
        old: None,
        held: false,
        auto: false,
    }
}

fn database(lines: &[(&str, &str, &str)]) -> Database {
    let line = |(status, name, version): &(&str, &str, &str)| {
        format!("{status}\t{name}\tamd64\t{version}\t{name}\t{version}\n")
    };
    Database::parse(&lines.iter().map(line).collect::<String>()).unwrap()
}

#[test]
fn a_node_is_where_the_set_was_staged_from_or_wholly_where_it_leads() {
    let changes = [
        change("switch", Some("1.0"), Some("2.0")),
        change("extra", None, Some("1.0")),
        change("old", Some("1.0"), None),
    ];
    let judged =
        |lines: &[(&str, &str, &str)]| as_staged(&database(lines), &changes).map_err(|problem| problem.what);
    assert_eq!(judged(&[("ii ", "switch", "1.0"), ("ii ", "old", "1.0")]), Ok(()));
    assert_eq!(judged(&[("ii ", "switch", "2.0"), ("ii ", "extra", "1.0"), ("rc ", "old", "1.0")]), Ok(()));
    let part = judged(&[("ii ", "switch", "2.0"), ("ii ", "old", "1.0")]).unwrap_err();
    assert_eq!(
        part,
        "a change of packages was interrupted: switch is 2.0, and extra should be 1.0 and is not installed"
    );
    let other = judged(&[("ii ", "switch", "1.5"), ("ii ", "old", "1.0")]).unwrap_err();
    assert_eq!(other, "the node has changed since this was staged: switch should be 1.0 and is 1.5");
    let half = judged(&[("iF ", "switch", "2.0"), ("ii ", "old", "1.0")]).unwrap_err();
    assert_eq!(half, "the node has changed since this was staged: switch should be 1.0 and is 2.0, half-way");
}

#[test]
fn what_is_half_configured_is_refused_unless_it_is_to_be_mended() {
    let database = database(&[("ii ", "switch", "1.0"), ("iF ", "other", "1.0")]);
    let problem = half_done(&database, &Packages::default()).unwrap_err();
    assert_eq!(problem.what, "dpkg has not ended its work: other: half-configured");
    assert_eq!(half_done(&database, &Packages { repair: true, ..Packages::default() }), Ok(()));
}
