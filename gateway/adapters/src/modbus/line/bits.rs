//! Bits of a register in a device without mask write (16 hex): the register is read, changed and written, in one turn on
//! the line, so that nothing of ours comes between. What the device or another master changes between the two is lost
//! all the same, which is why it is done only where the configuration allows it.

use gateway_core::WriteError;
use gateway_modbus::Table;
use gateway_modbus::client::CallError;
use gateway_modbus::pdu::{Answer, Exception, Request};
use gateway_modbus::plan::Write;
use gateway_modbus::value::Words;

use super::engine::Engine;
use super::jobs::Job;
use super::write::{answer, still_permitted, write_error};
use crate::modbus::settings::BitWrite;
use crate::waiting::not_sent;
use common::names::Code;

impl Engine<'_> {
    /// Whether bits of this device are written with the whole register.
    pub(super) fn writes_whole(&self, unit: usize) -> bool {
        match self.bit_write(unit) {
            BitWrite::Mask => false,
            BitWrite::Auto => self.units.get(unit).is_some_and(|u| u.no_mask),
            BitWrite::ReadModifyWrite => true,
        }
    }

    /// Whether the refusal of a mask write only means that the device has none, and that the whole register may be
    /// written instead. What the device cannot do is remembered until its connection is lost.
    pub(super) fn goes_without_mask(&mut self, unit: usize, refusal: Exception) -> bool {
        let may = refusal == Exception::ILLEGAL_FUNCTION && self.bit_write(unit) == BitWrite::Auto;
        if may && let Some(running) = self.units.get_mut(unit) {
            running.no_mask = true;
            tracing::info!(
                line = self.shared.config.name,
                unit = self.shared.devices.get(unit).map(|d| d.config.unit),
                "device has no mask write: bits are written with their whole register"
            );
        }
        may
    }

    fn bit_write(&self, unit: usize) -> BitWrite {
        self.shared.devices.get(unit).map_or_else(BitWrite::default, |d| d.config.bit_write)
    }

    /// Reads the register, changes the bits of those jobs that may still go on, and writes it.
    pub(super) async fn modify(&mut self, unit: usize, address: u16, jobs: Vec<Job>) {
        let Some(limit) = self.shared.devices.get(unit).map(super::Device::timeout) else { return };
        let request = Request::Read { table: Table::Holding, address, count: 1 };
        let word = |answer: Answer<'_>| match answer {
            Answer::Read { data: [high, low], .. } => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        };
        let before = match self.ask(unit, &request, limit, word).await {
            Ok(Some(word)) => word,
            Ok(None) => return refuse(jobs, &unread("what came is no register".to_owned())),
            Err(e) => return refuse(jobs, &read_error(&e)),
        };
        // Time has passed since they were admitted.
        let jobs: Vec<_> = jobs.into_iter().filter_map(still_permitted).collect();
        let after = jobs.iter().fold(before, |word, job| match job.change {
            Some(Write::Mask { and, or, .. }) => Words::masked(word, and, or),
            _ => word,
        });
        if jobs.is_empty() {
            return;
        }
        match self.write(unit, &Write::Registers { address, words: vec![after] }).await {
            Ok(()) => {
                for job in jobs {
                    let read = self.read_back(&job, true).await;
                    answer(job, read);
                }
            }
            Err(e) => refuse(jobs, &write_error(&e)),
        }
    }
}

fn refuse(jobs: Vec<Job>, error: &WriteError) {
    for job in jobs {
        answer(job, Err(error.clone()));
    }
}

/// Whatever went wrong with the read, nothing was written.
fn read_error(error: &CallError) -> WriteError {
    let detail = format!("its register could not be read before: {error}");
    match error {
        CallError::Refused(_) => WriteError::Refused { detail },
        _ => unread(detail),
    }
}

fn unread(detail: String) -> WriteError {
    not_sent(Code::NotConnected, detail)
}
