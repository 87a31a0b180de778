//! The cloud's authority: what the configuration says of it, and the ingress's own certificate, made anew in time.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloud_authority::{Authority, Error, Options, Trust};
use cloud_core::storage::AuditStorage as _;
use common::command::{LogEntry, Severity};
use common::names::action;
use common::text::counted;
use common::{Clock, Drain, Opening};

use crate::assemble::{StartError, open};
use crate::config::{Config, IngressSection};

/// How often it is looked whether the ingress's certificate has to be made anew.
const LOOK: Duration = Duration::from_secs(3600);

/// The folder of the authority.
pub fn authority_folder(config: &Config) -> PathBuf {
    config.cloud.data_dir.join("authority")
}

/// Whether the ingress's certificate is of the cloud's own authority.
pub(crate) fn is_own(config: &Config) -> bool {
    config.ingress.tls_cert.is_none() && !config.ingress.names.is_empty()
}

/// The authority, with the ingress's certificate if that is its own; none where the ingress speaks no TLS. So many gateways are
/// `enrolled`.
pub(crate) fn authority(
    config: &Config,
    clock: &Clock,
    enrolled: usize,
) -> Result<Option<Arc<Authority>>, Error> {
    let ingress = &config.ingress;
    let own = is_own(config);
    if !own && ingress.tls_cert.is_none() {
        return Ok(None);
    }
    let trust = match &ingress.tls_ca {
        _ if own => Trust::Own,
        Some(path) => Trust::File(path.clone()),
        None => Trust::System,
    };
    let (days, grace_days) = (ingress.certificate_days, ingress.renew_days);
    let options = Options { folder: authority_folder(config), trust, days, grace_days };
    let now = clock.now_us();
    let authority = Authority::open(options, enrolled, now)?;
    if own {
        authority.server(&ingress.names, now)?;
    }
    Ok(Some(Arc::new(authority)))
}

/// Makes another authority in place of one that is gone, while the cloud does not run. Where, and how many gateways have to be
/// enrolled again.
///
/// # Errors
/// When there is an authority, the database is in use, or one of the two cannot be had.
pub async fn new_authority(config: &Config) -> Result<(PathBuf, usize), StartError> {
    let clock = Clock::system();
    let store = open(config, &clock, &Opening::default()).await?;
    let (folder, now, enrolled) = (authority_folder(config), clock.now_us(), store.enrolled().await?);
    Authority::make_another(&folder, now)?;
    let entry = LogEntry {
        at_us: now,
        actor: "system".to_owned(),
        action: action::AUTHORITY_MADE.to_owned(),
        target: "authority".to_owned(),
        twin: None,
        severity: Severity::Alarm,
        code: None,
        detail: format!("on the machine: {} to be enrolled again", counted(enrolled, "gateway")),
    };
    store.append_audit(&entry).await?;
    Ok((folder, enrolled))
}

/// Certificate and key of the ingress.
pub(crate) fn tls(config: &Config) -> Option<cloud_ingest::Tls> {
    let ingress = &config.ingress;
    if is_own(config) {
        let both = Authority::server_file(&authority_folder(config));
        return Some(cloud_ingest::Tls { cert: both.clone(), key: both });
    }
    let files = ingress.tls_cert.clone().zip(ingress.tls_key.clone());
    files.map(|(cert, key)| cloud_ingest::Tls { cert, key })
}

/// Where boxes find the ingress; none if nobody said and it listens on all addresses.
pub(crate) fn url(ingress: &IngressSection, listens: SocketAddr) -> Option<String> {
    if ingress.url.is_some() {
        return ingress.url.clone();
    }
    let own = || Some(listens.ip().to_string()).filter(|_| !listens.ip().is_unspecified());
    let host = ingress.names.first().cloned().or_else(own)?;
    Some(match host.parse::<std::net::Ipv6Addr>() {
        Ok(_) => format!("mqtts://[{host}]:{}", listens.port()),
        Err(_) => format!("mqtts://{host}:{}", listens.port()),
    })
}

/// Makes the ingress's certificate anew in time; the ingress looks at the files.
pub(crate) async fn renew(
    authority: Arc<Authority>,
    names: Vec<String>,
    clock: Clock,
    drain: Drain,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            () = drain.started() => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
        let (authority, names, now) = (authority.clone(), names.clone(), clock.now_us());
        let made = tokio::task::spawn_blocking(move || authority.server(&names, now)).await;
        if let Ok(made) = made
            && made?
        {
            tracing::info!("the ingress's certificate is made anew");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_told_a_place_that_they_can_come_to_or_none() {
        let mut ingress = IngressSection::default();
        let at = |ingress: &IngressSection, listens: &str| url(ingress, listens.parse().expect("an address"));
        assert_eq!(at(&ingress, "0.0.0.0:8883"), None);
        assert_eq!(at(&ingress, "[::]:8883"), None);
        assert_eq!(at(&ingress, "10.0.0.5:8883").as_deref(), Some("mqtts://10.0.0.5:8883"));
        assert_eq!(at(&ingress, "[fd00::5]:8883").as_deref(), Some("mqtts://[fd00::5]:8883"));
        ingress.names = vec!["cloud.example".into()];
        assert_eq!(at(&ingress, "0.0.0.0:8883").as_deref(), Some("mqtts://cloud.example:8883"));
        ingress.url = Some("mqtts://other.example".into());
        assert_eq!(at(&ingress, "0.0.0.0:8883").as_deref(), Some("mqtts://other.example"));
    }
}
