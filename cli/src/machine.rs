//! What the machine has that a plant can hang on: serial ports and networks, as the kernel tells them. Nothing is opened and
//! nothing is sent.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

/// A serial port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialPort {
    /// Where it is, such as `/dev/ttyUSB0`.
    pub path: String,
    /// Its name that stays when adapters are plugged in anew, if it has one.
    pub stable: Option<String>,
    /// The kernel's driver.
    pub driver: String,
    /// Whether the kernel's console is there: nothing else may talk on it.
    pub is_console: bool,
}

impl SerialPort {
    /// The path that a configuration should have.
    pub fn best(&self) -> &str {
        self.stable.as_deref().unwrap_or(&self.path)
    }
}

/// A network that the machine is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its interface.
    pub interface: String,
    /// The machine's own address there; none if the kernel would use another one.
    pub own: Option<Ipv4Addr>,
    /// Its addresses.
    pub range: Range,
}

/// Addresses that begin alike, as `192.168.10.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: u32,
    prefix: u8,
}

/// Most addresses that are looked through at once: 2 to the power of the bits that a prefix of 22 leaves.
const SHORTEST: u8 = 22;

impl Range {
    /// Every address that a machine may have.
    pub fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        let all = 1u32 << (32 - self.prefix);
        // The first names the network and the last everybody in it, except where there is no room for that.
        let edge = u32::from(all > 2);
        (edge..all - edge).map(move |n| Ipv4Addr::from_bits(self.first + n))
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.first), self.prefix)
    }
}

impl std::str::FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no network such as 192.168.10.0/24");
        let (address, prefix) = text.trim().split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().ok().filter(|p| *p <= 32).ok_or_else(bad)?;
        if prefix < SHORTEST {
            return Err(format!(
                "`{text}` has more than 1024 addresses: look through a part of it, /{SHORTEST} to /32"
            ));
        }
        Ok(Self { first: address.to_bits() & mask(prefix), prefix })
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

/// The serial ports of this machine.
pub fn serial_ports() -> Vec<SerialPort> {
    serial_ports_in(Path::new("/"))
}

fn serial_ports_in(root: &Path) -> Vec<SerialPort> {
    let stable = entries(&root.join("dev/serial/by-id"));
    let consoles = fs::read_to_string(root.join("sys/class/tty/console/active")).unwrap_or_default();
    let mut ports: Vec<_> = entries(&root.join("sys/class/tty"))
        .into_iter()
        .filter_map(|dir| {
            let name = dir.file_name()?.to_str()?.to_owned();
            let driver = fs::canonicalize(dir.join("device/driver")).ok()?;
            // A chip that is not there has a place all the same.
            if fs::read_to_string(dir.join("type")).is_ok_and(|t| t.trim() == "0") {
                return None;
            }
            let device = root.join("dev").join(&name);
            let same =
                |link: &&PathBuf| fs::canonicalize(link).is_ok_and(|at| at.file_name() == device.file_name());
            let stable = stable
                .iter()
                .find(same)
                .map(|link| Path::new("/").join(link.strip_prefix(root).unwrap_or(link)));
            Some(SerialPort {
                path: format!("/dev/{name}"),
                stable: stable.map(|p| p.display().to_string()),
                driver: driver.file_name()?.to_string_lossy().into_owned(),
                is_console: consoles.split_whitespace().any(|c| c == name),
            })
        })
        .collect();
    ports.sort_by(|a, b| a.path.cmp(&b.path));
    ports
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    found.sort();
    found
}

/// The networks that this machine is in, itself not counted.
pub fn networks() -> Vec<Network> {
    let own = |range: Range| {
        // Nothing is sent: only which address would be used is asked.
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((range.hosts().next()?, 9)).ok()?;
        match socket.local_addr().ok()?.ip() {
            std::net::IpAddr::V4(own) if own.to_bits() & mask(range.prefix) == range.first => Some(own),
            _ => None,
        }
    };
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let of = routes_in(&routes).into_iter();
    of.map(|(interface, range)| Network { interface, own: own(range), range }).collect()
}

/// Networks that are reached without a router, of the kernel's table of routes.
fn routes_in(text: &str) -> Vec<(String, Range)> {
    let one = |line: &str| {
        let cells: Vec<_> = line.split_whitespace().collect();
        let address = |at: usize| u32::from_str_radix(cells.get(at)?, 16).ok().map(u32::swap_bytes);
        // As the processor has it in memory; every one that this runs on has the lowest byte first.
        let (first, router, mask) = (address(1)?, address(2)?, address(7)?);
        let prefix = u8::try_from(mask.leading_ones()).ok()?;
        (router == 0 && prefix > 0)
            .then(|| ((*cells.first().unwrap_or(&"")).to_owned(), Range { first, prefix }))
    };
    text.lines().skip(1).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_its_hosts() {
        let hosts = |text: &str| -> Vec<String> {
            text.parse::<Range>().unwrap().hosts().map(|h| h.to_string()).collect()
        };
        assert_eq!(hosts("10.0.0.9/30"), ["10.0.0.9", "10.0.0.10"]);
        assert_eq!(hosts("10.0.0.9/32"), ["10.0.0.9"]);
        assert_eq!(hosts("10.0.0.8/31"), ["10.0.0.8", "10.0.0.9"]);
        assert_eq!(hosts("192.168.255.0/22").len(), 1022);
        assert_eq!("10.1.2.3/24".parse::<Range>().unwrap().to_string(), "10.1.2.0/24");
        for bad in ["10.0.0.0/8", "10.0.0.0", "10.0.0/24", "10.0.0.0/33", "x/24", ""] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }

    #[test]
    fn routes_without_a_router_are_networks() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010AA8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t000AA8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let found: Vec<_> = routes_in(table).into_iter().map(|(i, r)| (i, r.to_string())).collect();
        assert_eq!(found, [("eth0".to_owned(), "192.168.10.0/24".to_owned())]);
        assert!(routes_in("").is_empty() && routes_in("head\nx\ty\n").is_empty());
    }

    #[test]
    fn ports_are_those_with_a_driver_and_a_chip() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for (name, driver, kind) in [
            ("ttyUSB0", Some("ftdi_sio"), None),
            ("ttyS0", Some("serial8250"), Some("4")),
            ("ttyS1", Some("serial8250"), Some("0")),
            ("tty1", None, None),
        ] {
            let dir = at("sys/class/tty").join(name);
            fs::create_dir_all(dir.join("device")).unwrap();
            if let Some(driver) = driver {
                let to = at("sys/drivers").join(driver);
                fs::create_dir_all(&to).unwrap();
                std::os::unix::fs::symlink(to, dir.join("device/driver")).unwrap();
            }
            if let Some(kind) = kind {
                fs::write(dir.join("type"), kind).unwrap();
            }
        }
        fs::create_dir_all(at("sys/class/tty/console")).unwrap();
        fs::write(at("sys/class/tty/console/active"), "tty0 ttyS0\n").unwrap();
        fs::create_dir_all(at("dev/serial/by-id")).unwrap();
        fs::write(at("dev/ttyUSB0"), "").unwrap();
        std::os::unix::fs::symlink("../../ttyUSB0", at("dev/serial/by-id/usb-FTDI")).unwrap();
        let found = serial_ports_in(root.path());
        let paths: Vec<_> = found.iter().map(|p| (p.best(), p.driver.as_str(), p.is_console)).collect();
        assert_eq!(
            paths,
            [("/dev/ttyS0", "serial8250", true), ("/dev/serial/by-id/usb-FTDI", "ftdi_sio", false)]
        );
    }
}
