//! pymodbus as the device, and Python's struct as the judge of registers.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use common::Value;
use gateway_modbus::value::{Chars, Encoding, Format, Order, RawType, Trim};
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Told {
    pub(crate) ports: Ports,
    pub(crate) cases: Vec<Case>,
}

#[derive(Deserialize)]
pub(crate) struct Ports {
    pub(crate) tcp: u16,
    pub(crate) rtu: u16,
    pub(crate) ascii: u16,
}

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) keys: Keys,
    pub(crate) address: u16,
    pub(crate) count: u16,
    pub(crate) value: Value,
    pub(crate) registers: Vec<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    #[serde(rename = "type")]
    raw_type: RawType,
    #[serde(default)]
    order: Order,
    pub(crate) bit: Option<u8>,
    length: Option<u16>,
    #[serde(default)]
    trim: Trim,
    #[serde(default)]
    encoding: Encoding,
    #[serde(default)]
    chars: Chars,
    exponent: Option<i32>,
}

impl Keys {
    pub(crate) fn format(&self) -> Format {
        let Self { raw_type, order, bit, length, trim, encoding, chars, exponent } = *self;
        Format { raw_type, order, bit, length, trim, encoding, chars, exponent, invalid: None }
    }
}

pub(crate) struct Python {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Python {
    pub(crate) fn start() -> (Self, Told) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/golden.py");
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut python = Self { child, to, from };
        let told = python.line();
        (python, serde_json::from_str(&told).expect("the cases: is python3-pymodbus installed?"))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        line
    }

    /// What stands where a case was written.
    pub(crate) fn written(&mut self, case: usize) -> Value {
        writeln!(self.to, "{case}").unwrap();
        serde_json::from_str(&self.line()).unwrap()
    }

    /// What registers mean to a case.
    pub(crate) fn value(&mut self, case: usize, registers: &[u16]) -> Value {
        let registers: Vec<_> = registers.iter().map(ToString::to_string).collect();
        writeln!(self.to, "{case} {}", registers.join(" ")).unwrap();
        serde_json::from_str(&self.line()).unwrap()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
