//! The same matrix with libmodbus at the other end, as the device and as the master, over every transport that it
//! speaks: TCP, and RTU on a serial line (a pseudo terminal). ASCII and RTU over TCP it has not.

use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use common::Value;
use gateway_modbus::client::{Client, Options};
use gateway_modbus::frame::Framing;
use gateway_modbus::pdu::{Exception, Request};
use gateway_modbus::plan::Write;
use gateway_modbus::server::{Device, serve};
use gateway_modbus::value::Words;
use gateway_modbus::{Table, client};
use serial2_tokio::SerialPort;
use tokio::net::{TcpListener, TcpStream};

use super::python::{Case, Python};
use super::{Stream, UNIT, WRITES, read, read_all, same, write, write_of};

/// What a register holds before one of its bits is written, as in `golden.py`.
const AROUND: u16 = 0xAAAA;

/// The C program, compiled once.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/libmodbus.c");
        let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("golden-libmodbus");
        let mut compile = Command::new("cc");
        compile.args(["-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program).args([source, "-lmodbus"]);
        let done = compile.status().expect("a C compiler");
        assert!(done.success(), "the C program does not compile: is libmodbus-dev installed?");
        program
    })
}

struct Libmodbus {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// What it said when it began.
    first: String,
}

impl Libmodbus {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(program())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program that was compiled");
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut made = Self { child, to, from, first: String::new() };
        made.first = made.line();
        made
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "it ended");
        line.trim_end().to_owned()
    }

    fn tell(&mut self, line: &str) -> String {
        writeln!(self.to, "{line}").unwrap();
        let answer = self.line();
        assert!(!answer.starts_with("error"), "{line}: {answer}");
        answer
    }

    fn numbers(&mut self, line: &str) -> Vec<u16> {
        self.tell(line).split_whitespace().map(|n| n.parse().unwrap()).collect()
    }
}

impl Drop for Libmodbus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn list(words: &[u16]) -> String {
    words.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Both ends of a serial line, and the name of the second.
fn terminal() -> (SerialPort, SerialPort, String) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _held = ONE_AT_A_TIME.lock();
    let terminals = || -> Vec<PathBuf> {
        let fds = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let links = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        links.filter(|to| to.starts_with("/dev/pts")).collect()
    };
    let before = terminals();
    let (master, slave) = SerialPort::pair().unwrap();
    let name = terminals().into_iter().find(|t| !before.contains(t)).unwrap();
    (master, slave, name.to_str().unwrap().to_owned())
}

/// Every case, and every other table, of a device that is libmodbus.
async fn device<S: Stream>(stream: S, framing: Framing, device: &mut Libmodbus) {
    let (mut python, told) = Python::start();
    let mut client = Client::new(stream, Options::new(framing));
    for case in &told.cases {
        device.tell(&format!("set {} {}", case.address, list(&case.registers)));
    }
    read_all(&mut client, &told.cases).await;
    for (n, case) in told.cases.iter().enumerate() {
        let at = case.address + WRITES;
        if case.keys.bit.is_some() {
            device.tell(&format!("set {at} {AROUND}"));
        }
        write(&mut client, &write_of(case)).await;
        let stands = device.numbers(&format!("get {at} {}", case.count));
        judged(&mut python, n, case, &stands);
    }
    let bit = |data: &[u8], n: usize| data[n / 8] >> (n % 8) & 1 == 1;
    let coils = read(&mut client, Table::Coil, 60, 100).await;
    let discrete = read(&mut client, Table::Discrete, 60, 100).await;
    for n in 0..100 {
        assert_eq!((bit(&coils, n), bit(&discrete, n)), (n % 3 == 0, n % 3 != 0), "{framing:?} {n}");
    }
    assert_eq!(read(&mut client, Table::Input, 7, 2).await, [0x03, 0xEF, 0x03, 0xF0]);
    write(&mut client, &Write::Coils { address: 10, bits: vec![true, true, false, true] }).await;
    write(&mut client, &Write::Coils { address: 14, bits: vec![true] }).await;
    let coils = read(&mut client, Table::Coil, 10, 5).await;
    assert_eq!(coils, [0b11011]);
    let beyond = Request::Read { table: Table::Holding, address: 39_999, count: 2 };
    let refused = client.call(UNIT, &beyond, super::LIMIT).await.unwrap_err();
    assert_eq!(refused, client::CallError::Refused(Exception::ILLEGAL_ADDRESS), "{framing:?}");
}

fn judged(python: &mut Python, n: usize, case: &Case, registers: &[u16]) {
    let value = python.value(n, registers);
    assert!(same(case.keys.format(), &value, &case.value), "{:?}: {registers:x?} is {value:?}", case.keys);
}

#[tokio::test]
async fn libmodbus_as_the_device_holds_and_gives_every_type_and_order_over_tcp() {
    let mut other = Libmodbus::start(&["serve", "tcp"]);
    let stream = TcpStream::connect(("127.0.0.1", other.first.parse().unwrap())).await.unwrap();
    stream.set_nodelay(true).unwrap();
    device(stream, Framing::Mbap, &mut other).await;
}

#[tokio::test]
async fn libmodbus_as_the_device_holds_and_gives_every_type_and_order_over_rtu() {
    let (ours, _theirs, name) = terminal();
    let mut other = Libmodbus::start(&["serve", "rtu", &name]);
    device(ours, Framing::Rtu, &mut other).await;
}

/// What we serve.
struct Memory {
    registers: Mutex<Vec<u16>>,
    coils: Mutex<[bool; 200]>,
}

impl Memory {
    fn new() -> Arc<Self> {
        let coils = std::array::from_fn(|n| n % 3 == 0);
        Arc::new(Self { registers: Mutex::new(vec![0; 40_000]), coils: Mutex::new(coils) })
    }

    fn put(&self, address: u16, words: &[u16]) {
        self.registers.lock().unwrap()[usize::from(address)..][..words.len()].copy_from_slice(words);
    }

    fn get(&self, address: u16, count: u16) -> Vec<u16> {
        self.registers.lock().unwrap()[usize::from(address)..][..usize::from(count)].to_vec()
    }
}

impl Device for Memory {
    fn answer(&self, unit: u8, request: &Request<'_>, data: &mut Vec<u8>) -> Result<(), Option<Exception>> {
        if unit != UNIT {
            return Err(None);
        }
        let from = usize::from(request.address());
        let range = from..from + usize::from(request.count());
        let (mut registers, mut coils) = (self.registers.lock().unwrap(), self.coils.lock().unwrap());
        let bits = matches!(request, Request::WriteCoil { .. } | Request::WriteCoils { .. })
            || matches!(request, Request::Read { table, .. } if table.is_bits());
        if range.end > if bits { coils.len() } else { registers.len() } {
            return Err(Some(Exception::ILLEGAL_ADDRESS));
        }
        match *request {
            Request::Read { table, .. } if table.is_bits() => {
                data.resize(range.len().div_ceil(8), 0);
                for (n, at) in range.enumerate() {
                    data[n / 8] |= u8::from(coils[at] != (table == Table::Discrete)) << (n % 8);
                }
            }
            Request::Read { table: Table::Input, .. } => {
                data.extend(range.flat_map(|n| (1000 + n as u16).to_be_bytes()));
            }
            Request::Read { .. } => data.extend(registers[range].iter().flat_map(|w| w.to_be_bytes())),
            Request::WriteCoil { value, .. } => coils[from] = value,
            Request::WriteCoils { bits, .. } => {
                range.enumerate().for_each(|(n, at)| coils[at] = bits[n / 8] >> (n % 8) & 1 == 1);
            }
            Request::WriteRegister { value, .. } => registers[from] = value,
            Request::WriteRegisters { data, .. } => {
                for (to, pair) in registers[range].iter_mut().zip(data.chunks(2)) {
                    *to = u16::from_be_bytes([pair[0], pair[1]]);
                }
            }
            Request::MaskWrite { and, or, .. } => registers[from] = Words::masked(registers[from], and, or),
        }
        Ok(())
    }
}

/// Every case, and every other table, as a master that is libmodbus sees and changes them in what we serve.
fn master(mut master: Libmodbus, memory: &Memory) {
    let (mut python, told) = Python::start();
    for (n, case) in told.cases.iter().enumerate() {
        let words = match case.keys.format().encode(&case.value).unwrap() {
            Words::Registers(words) => words,
            Words::Mask { and, or } => vec![Words::masked(AROUND, and, or)],
        };
        memory.put(case.address, &words);
        let seen = master.numbers(&format!("holding {} {}", case.address, case.count));
        judged(&mut python, n, case, &seen);

        let at = case.address + WRITES;
        match case.keys.bit {
            Some(bit) => {
                memory.put(at, &[AROUND]);
                master.tell(&format!("mask {at} {} {}", !(1u16 << bit), 1u16 << bit));
                assert_eq!(memory.get(at, 1), [AROUND | 1 << bit]);
            }
            None => drop(master.tell(&format!("registers {at} {}", list(&case.registers)))),
        }
        let stands: Vec<u8> = memory.get(at, case.count).iter().flat_map(|w| w.to_be_bytes()).collect();
        let value: Value = case.keys.format().decoder().decode(&stands).unwrap();
        assert!(same(case.keys.format(), &value, &case.value), "{:?}: {value:?}", case.keys);
    }
    let thirds = |on: bool| (60..160).map(|n| u16::from((n % 3 == 0) == on)).collect::<Vec<_>>();
    assert_eq!(master.numbers("coil 60 100"), thirds(true));
    assert_eq!(master.numbers("discrete 60 100"), thirds(false));
    assert_eq!(master.numbers("input 7 2"), [1007, 1008]);
    master.tell("coils 10 1 1 0 1");
    master.tell("coils 14 1");
    assert_eq!(master.numbers("coil 10 5"), [1, 1, 0, 1, 1]);
    writeln!(master.to, "holding 39999 2").unwrap();
    assert_eq!(master.line(), "error Illegal data address");
}

// The master's pipe is waited for on the test's own thread, so that what we serve needs another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libmodbus_as_the_master_reads_and_writes_every_type_and_order_over_tcp() {
    let memory = Memory::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let served = memory.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, Framing::Mbap, served.as_ref()).await
    });
    master(Libmodbus::start(&["ask", "tcp", &port]), &memory);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libmodbus_as_the_master_reads_and_writes_every_type_and_order_over_rtu() {
    let memory = Memory::new();
    let (ours, _theirs, name) = terminal();
    let served = memory.clone();
    tokio::spawn(async move { serve(ours, Framing::Rtu, served.as_ref()).await });
    master(Libmodbus::start(&["ask", "rtu", &name]), &memory);
}
