//! The southbound database, asked as the node itself may ask it: with the chassis' own address and keys, and reads alone.

use drydock_types::ovn::Southbound;
use serde_json::json;

use super::{Tools, chassis::Chassis, rows};
use crate::sys::units::printable_line;

/// One transaction, so that what is asked for and what is reached are of one moment.
fn ask(chassis: &str) -> String {
    json!([
        "OVN_Southbound",
        {"op": "select", "table": "SB_Global", "where": [], "columns": ["nb_cfg", "options"]},
        {"op": "select", "table": "Chassis_Private", "where": [["name", "==", chassis]], "columns": ["nb_cfg"]},
    ])
    .to_string()
}

pub(super) async fn look(tools: &Tools, chassis: &Chassis) -> Result<Southbound, String> {
    let remote = chassis.remote.clone()?;
    let mut args = Vec::new();
    if let Some(keys) = &chassis.keys {
        for (option, file) in [
            ("--private-key", &keys.private_key),
            ("--certificate", &keys.certificate),
            ("--ca-cert", &keys.ca_cert),
        ] {
            args.push(format!("{option}={file}"));
        }
    }
    // Any member of a cluster of databases will do, as it does for the controller itself.
    args.extend(["--no-leader-only".to_owned(), "transact".to_owned(), remote.clone(), ask(&chassis.name)]);
    let said = tools.ask(args, super::ANSWER, &printable_line(&remote)).await?;
    parse(&said)
}

fn parse(said: &str) -> Result<Southbound, String> {
    let [global, private] = rows::parse::<2>(said)?;
    let global = rows::only("SB_Global", &global)?;
    let reached = match private.as_slice() {
        [] => None,
        [row] => Some(row.count("nb_cfg")?),
        more => return Err(format!("it has {} rows Chassis_Private of one name", more.len())),
    };
    let northd = global.map("options")?.remove("northd_internal_version");
    Ok(Southbound { wanted: global.count("nb_cfg")?, reached, northd: northd.map(|it| printable_line(&it)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a southbound database of OVN 23.03.1 answered.
    const RECORDED: &str = include_str!("recorded-southbound.json");

    #[test]
    fn a_recorded_answer_is_read() {
        let expected =
            Southbound { wanted: 2, reached: Some(2), northd: Some("23.03.1-20.27.0-70.6".to_owned()) };
        assert_eq!(parse(RECORDED).unwrap(), expected);
        let behind = RECORDED.replacen("\"nb_cfg\":2", "\"nb_cfg\":7", 1);
        assert_eq!((parse(&behind).unwrap().wanted, parse(&behind).unwrap().reached), (7, Some(2)));
        let unknown = RECORDED.replace("{\"rows\":[{\"nb_cfg\":2}]}", "{\"rows\":[]}");
        assert_eq!(parse(&unknown).unwrap().reached, None);
        let none = RECORDED.replace("northd_internal_version", "x");
        assert_eq!(parse(&none).unwrap().northd, None);
    }

    #[test]
    fn an_answer_of_another_form_is_no_answer() {
        let replaced = |from: &str, to: &str| {
            assert!(RECORDED.contains(from), "{from}");
            parse(&RECORDED.replace(from, to))
        };
        assert!(replaced("\"nb_cfg\":2", "\"nb_cfg\":-2").is_err());
        assert!(replaced("\"nb_cfg\":2", "\"nb_cfg\":\"2\"").is_err());
        assert!(
            replaced("{\"rows\":[{\"nb_cfg\":2}]}", "{\"rows\":[{\"nb_cfg\":2},{\"nb_cfg\":3}]}").is_err()
        );
        for bad in ["", "{}", &RECORDED[..RECORDED.len() / 2], "[{\"rows\":[]},{\"rows\":[]}]"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_data_and_never_part_of_the_question() {
        let name = "n1\"]],\"columns\":[]},\n{\"op\":\"delete\"\u{0}'; reboot";
        let asked: serde_json::Value = serde_json::from_str(&ask(name)).unwrap();
        assert_eq!(asked[2]["where"][0][2], name);
        assert_eq!(asked.as_array().unwrap().len(), 3);
        assert!(!ask(name).contains('\0'));
    }
}
