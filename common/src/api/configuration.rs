//! Configuration documents that the cloud keeps for gateways, and what became of them at the box.

use serde::{Deserialize, Serialize};

use crate::ids::GatewayId;

/// Most bytes of a document.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// What the box's own configuration lets a document from the cloud do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Accepts {
    /// nothing
    #[default]
    Off,
    /// devices whose points are read
    Read,
    /// devices whose points are read and written
    Write,
}

/// Which document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DocumentRef {
    /// Its version: rises with each document of a gateway, from 1.
    pub version: u64,
    /// SHA-256 of its text, hexadecimal.
    pub hash: String,
}

/// What became of a document at the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DocumentState {
    /// none came yet
    #[default]
    None,
    /// it came, and is being looked at
    Received,
    /// it runs, and has not proven yet that the box reaches the cloud with it
    Trial,
    /// it runs
    Applied,
    /// it does not run, for the reason given
    Refused,
}

/// What a box says of documents from the cloud.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigurationReport {
    /// What it takes.
    pub accepts: Accepts,
    /// The last document that came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<DocumentRef>,
    /// What became of that.
    pub state: DocumentState,
    /// Why, if it is refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The document that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<DocumentRef>,
    /// SHA-256 of the box's own files, hexadecimal.
    pub local: String,
    /// The same when the document that runs was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<String>,
    /// Whether somebody changed the box's own files, or the kept document, since then.
    #[serde(default)]
    pub changed: bool,
    /// When this became so, UTC us.
    pub at_us: i64,
}

/// Body of `PUT /gateways/{id}/configuration`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigurationRequest {
    /// TOML with `[[device]]`, `[[template]]` and `[[line]]`; empty: nothing from the cloud. At most 1 MiB.
    pub document: String,
    /// What it is for.
    #[serde(default)]
    pub note: String,
    /// Whether the box takes it although somebody changed its files since.
    #[serde(default)]
    pub force: bool,
}

/// A document, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigurationEntry {
    /// Its version.
    pub version: u64,
    /// SHA-256 of its text, hexadecimal.
    pub hash: String,
    /// Length of its text.
    pub bytes: u64,
    /// Who put it there.
    pub author: String,
    /// When, UTC us.
    pub at_us: i64,
    /// What it is for.
    pub note: String,
    /// SHA-256 of the box's own files that it rests on; none: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Whether the box takes it although its files are others.
    pub force: bool,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigurationDocument {
    /// What is known of it.
    pub entry: ConfigurationEntry,
    /// Its text, TOML.
    pub document: String,
}

/// How a gateway stands to the document that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ConfigurationState {
    /// none is wanted
    None,
    /// the box has not heard of it: it is away, or its program is too old
    Waiting,
    /// the box takes no documents
    NotAccepted,
    /// the box looks at it
    Received,
    /// it runs on trial
    Trial,
    /// it runs
    Applied,
    /// the box refused it
    Refused,
}

impl std::fmt::Display for ConfigurationState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Waiting => "waiting",
            Self::NotAccepted => "not accepted",
            Self::Received => "received",
            Self::Trial => "on trial",
            Self::Applied => "applied",
            Self::Refused => "refused",
        })
    }
}

/// The configuration of a gateway, as the cloud knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigurationView {
    /// The gateway.
    pub gateway: GatewayId,
    /// The document that it should run; none if there never was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<ConfigurationEntry>,
    /// How it stands to that.
    pub state: ConfigurationState,
    /// Why it is so, for people.
    pub reason: String,
    /// What the box told last; none if it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ConfigurationReport>,
}

impl ConfigurationView {
    /// Wanted document and last report held together.
    pub fn of(
        gateway: GatewayId,
        wanted: Option<ConfigurationEntry>,
        report: Option<ConfigurationReport>,
    ) -> Self {
        let (state, reason) = standing(wanted.as_ref(), report.as_ref());
        Self { gateway, wanted, state, reason, report }
    }
}

fn standing(
    wanted: Option<&ConfigurationEntry>,
    report: Option<&ConfigurationReport>,
) -> (ConfigurationState, String) {
    let Some(wanted) = wanted else { return (ConfigurationState::None, String::new()) };
    let Some(report) = report else {
        let why = "the box has never told of its configuration: it was never here, or its program is too old";
        return (ConfigurationState::Waiting, why.into());
    };
    let is_it = |d: &DocumentRef| (d.version, d.hash.as_str()) == (wanted.version, wanted.hash.as_str());
    if report.accepts == Accepts::Off {
        let why =
            "the box takes no configuration from the cloud: `accept_configuration` in its `[uplink]` is off";
        return (ConfigurationState::NotAccepted, why.into());
    }
    if !report.judged.as_ref().is_some_and(is_it) {
        return (ConfigurationState::Waiting, "the box has not heard of it yet".into());
    }
    let state = match report.state {
        DocumentState::None => ConfigurationState::Waiting,
        DocumentState::Received => ConfigurationState::Received,
        DocumentState::Trial => ConfigurationState::Trial,
        DocumentState::Applied => ConfigurationState::Applied,
        DocumentState::Refused => ConfigurationState::Refused,
    };
    (state, report.reason.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(version: u64) -> ConfigurationEntry {
        ConfigurationEntry {
            version,
            hash: format!("{version:064x}"),
            bytes: 1,
            author: "anna".into(),
            at_us: 0,
            note: String::new(),
            base: None,
            force: false,
        }
    }

    #[test]
    fn a_report_counts_only_for_the_document_that_is_wanted() {
        let of = |wanted, report| ConfigurationView::of("g".parse().expect("a name"), wanted, report).state;
        let report = ConfigurationReport {
            accepts: Accepts::Read,
            judged: Some(DocumentRef { version: 2, hash: wanted(2).hash }),
            state: DocumentState::Refused,
            ..ConfigurationReport::default()
        };
        assert_eq!(of(None, Some(report.clone())), ConfigurationState::None);
        assert_eq!(of(Some(wanted(2)), None), ConfigurationState::Waiting);
        assert_eq!(of(Some(wanted(2)), Some(report.clone())), ConfigurationState::Refused);
        assert_eq!(of(Some(wanted(3)), Some(report.clone())), ConfigurationState::Waiting);
        // A cloud that came back from a backup may give a number again.
        let other = ConfigurationEntry { hash: wanted(3).hash, ..wanted(2) };
        assert_eq!(of(Some(other), Some(report.clone())), ConfigurationState::Waiting);
        let off = ConfigurationReport { accepts: Accepts::Off, ..report };
        assert_eq!(of(Some(wanted(2)), Some(off)), ConfigurationState::NotAccepted);
    }
}
