//! Secrets in every place of a configuration that can hold one.

use std::collections::BTreeSet;

use super::*;

const SAMPLES: [&str; 5] = [
    include_str!("../../../../config/gateway.toml"),
    include_str!("../../../../gateway/adapters/src/modbus/sample.toml"),
    include_str!("../../../../gateway/adapters/src/mqtt/sample.toml"),
    include_str!("../../../../gateway/adapters/src/opcua/sample.toml"),
    include_str!("../../../../gateway/adapters/src/sparkplug/sample.toml"),
];

/// Every key of the samples, switched off or not, inline tables included.
fn keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for line in SAMPLES.iter().flat_map(|s| s.lines()) {
        let line = line.trim_start_matches('#').trim();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('=') {
            let key = before.trim().rsplit([' ', '{', ',', '(']).next().unwrap_or_default();
            if !key.is_empty()
                && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            {
                keys.insert(key.to_owned());
            }
            rest = after;
        }
    }
    keys
}

/// The keys of the schema that hold secrets or name files that do. Whoever adds one finds it here.
const SECRET: [&str; 7] =
    ["keys_file", "password_file", "passwords_file", "registration", "tls_key", "tokens_file", "user_key"];

#[test]
fn the_secret_keys_of_the_schema_are_known() {
    let keys = keys();
    assert!(keys.len() > 150 && keys.contains("quota_mb") && keys.contains("bit_write"), "{keys:?}");
    let secret: Vec<&String> = keys.iter().filter(|k| is_secret(k)).collect();
    assert_eq!(secret, SECRET);
}

#[test]
fn what_stands_in_a_secret_key_is_struck_out_wherever_the_key_is() {
    for key in SECRET {
        for (n, form) in [
            format!("[[device]]\nname = \"d\"\n[device.opcua]\n{key} = \"PLANTED-1\"\n"),
            format!("[uplink]\n{key} = [\"PLANTED-2\", \"PLANTED-3\"]\n"),
            format!("device = [{{ name = \"d\", parameters = {{ {key} = {{ a = \"PLANTED-4\" }} }} }}]\n"),
            format!("[uplink]\n{key} = \"PLANTED-5\"\nbroken = \n"),
            format!("[uplink]\n# {key} = \"PLANTED-6\"\nday_mb = 1.0 # PLANTED-7\n"),
            format!("[uplink]\n{key} = 7418529630\n"),
        ]
        .into_iter()
        .enumerate()
        {
            let redacted = redact(&form);
            let clean = !redacted.text.contains("PLANTED") && !redacted.text.contains("7418529630");
            assert!(clean, "{n} {key}: {}", redacted.text);
            assert!(n == 4 || !redacted.secrets.is_empty(), "{n} {key}");
        }
    }
}

#[test]
fn paths_of_secret_files_are_shown_and_remembered() {
    let redacted = redact("[uplink]\npassword_file = \"/etc/twinway/uplink.password\"\nday_mb = 5.0\n");
    assert!(redacted.text.contains("/etc/twinway/uplink.password") && redacted.text.contains("day_mb = 5.0"));
    assert_eq!(redacted.files, [PathBuf::from("/etc/twinway/uplink.password")]);
    // Not a path but a secret that looks like one, as base64 may.
    assert!(!redact("keys_file = \"/x9Yw/PLANTED==\"\n").text.contains("PLANTED"));
}

#[test]
fn logins_in_addresses_are_struck_out() {
    let redacted =
        redact("[uplink]\nurl = \"mqtts://u:PLANTED@h:8883/x\"\n[[publish]]\nurl = \"mqtt://h:1883\"\n");
    assert!(!redacted.text.contains("PLANTED") && redacted.text.contains("@h:8883/x"), "{}", redacted.text);
    assert!(redacted.text.contains("\"mqtt://h:1883\""));
    assert_eq!(redacted.secrets, ["PLANTED"]);
}

#[test]
fn what_is_no_toml_keeps_only_what_cannot_be_a_secret() {
    let redacted = redact("[uplink\nurl = \"PLANTED\"\nday_mb = 5.0\nPLANTED\n[buffer]\nquota_mb = 9\n");
    assert!(!redacted.text.contains("PLANTED"), "{}", redacted.text);
    assert!(redacted.text.contains("[buffer]\nquota_mb = 9") && redacted.text.contains("day_mb = 5.0"));
}
