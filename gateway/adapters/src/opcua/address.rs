//! `opc.tcp://host:port/path`: read strictly, and put in the place of the host that a server says it has. Pure.

/// Port of OPC UA.
const PORT: u16 = 4840;

/// Parts of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// With its `/`, or empty.
    pub(super) path: &'a str,
}

/// The parts of a URL.
///
/// # Errors
/// What is wrong and expected.
pub(super) fn parse(url: &str) -> Result<Address<'_>, String> {
    let wrong = || format!("`{url}` is no address of a server: expected `opc.tcp://host:4840`");
    let rest = url.strip_prefix("opc.tcp://").ok_or_else(wrong)?;
    let (place, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = match place.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']').ok_or_else(wrong)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            (
                host,
                port.strip_prefix(':')
                    .map_or(if port.is_empty() { Ok(None) } else { Err(wrong()) }, |p| Ok(Some(p)))?,
            )
        }
        None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(PORT), |p| p.parse().map_err(|_| wrong()))?;
    let odd = |c: char| c.is_whitespace() || c.is_control() || "@?#".contains(c);
    if host.is_empty() || port == 0 || url.chars().any(odd) || (host.contains(':') && !place.starts_with('['))
    {
        return Err(wrong());
    }
    Ok(Address { host, port, path })
}

/// Whether a URL can be called.
pub(super) fn check(url: &str) -> Result<(), String> {
    parse(url).map(|_| ())
}

/// A server's own URL with the host and port by which it was called: servers name hosts that only they can resolve.
pub(super) fn called(own: &str, called: &str) -> String {
    let Ok(to) = parse(called) else { return called.to_owned() };
    let path = parse(own).map_or(to.path, |o| o.path);
    let host = if to.host.contains(':') { format!("[{}]", to.host) } else { to.host.to_owned() };
    format!("opc.tcp://{host}:{}{path}", to.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_called_as_the_configuration_says() {
        assert_eq!(
            called("opc.tcp://PLC-7:4840/ua", "opc.tcp://10.0.0.5:4841"),
            "opc.tcp://10.0.0.5:4841/ua"
        );
        assert_eq!(called("opc.tcp://PLC-7:4840", "opc.tcp://[::1]:4841/x"), "opc.tcp://[::1]:4841");
        assert_eq!(called("nonsense", "opc.tcp://h/x"), "opc.tcp://h:4840/x");
        let parts = parse("opc.tcp://[fd00::1]/ua").unwrap();
        assert_eq!((parts.host, parts.port, parts.path), ("fd00::1", 4840, "/ua"));
    }
}
