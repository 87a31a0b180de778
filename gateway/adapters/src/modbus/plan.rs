//! What to read together: points of one table and period whose addresses follow each other share a request.
//! Pure; when to read is the session's matter.

use std::time::Duration;

use gateway_modbus::Table;

use super::point::PointConfig;

/// Most registers of one read (Modbus application protocol V1.1b3, 6.3 and 6.4).
pub const MAX_REGISTERS: u16 = 125;
/// Most bits of one read (6.1 and 6.2).
pub const MAX_BITS: u16 = 2000;

/// One read request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Which table.
    pub table: Table,
    /// First address.
    pub address: u16,
    /// How many registers or bits.
    pub count: u16,
    /// How often.
    pub period: Duration,
    /// Which points it holds, as indices into what was planned, by address.
    pub points: Vec<usize>,
}

/// The fewest blocks that read `points` (index and configuration) without reading between them. A point is
/// never split. Points that overlap share a block.
pub fn plan<'a>(points: impl IntoIterator<Item = (usize, &'a PointConfig)>) -> Vec<Block> {
    let mut points: Vec<_> = points.into_iter().collect();
    points.sort_by_key(|(index, p)| (p.table, p.period_ms, p.address, p.count(), *index));
    let mut blocks: Vec<Block> = Vec::new();
    for (index, point) in points {
        let period = Duration::from_millis(point.period_ms);
        let limit = u32::from(if point.table.is_bits() { MAX_BITS } else { MAX_REGISTERS });
        let end = u32::from(point.address) + u32::from(point.count());
        if let Some(block) = blocks.last_mut() {
            let block_end = u32::from(block.address) + u32::from(block.count);
            let joined = end.max(block_end) - u32::from(block.address);
            if (block.table, block.period) == (point.table, period)
                && u32::from(point.address) <= block_end
                && joined <= limit
            {
                block.count = u16::try_from(joined).unwrap_or(block.count);
                block.points.push(index);
                continue;
            }
        }
        blocks.push(Block {
            table: point.table,
            address: point.address,
            count: point.count(),
            period,
            points: vec![index],
        });
    }
    blocks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use gateway_modbus::value::RawType;

    fn point(table: Table, address: u16, raw_type: RawType, period_ms: u64) -> PointConfig {
        let mut point = PointConfig::new(table, address, raw_type);
        point.format.length = (raw_type == RawType::String).then_some(20);
        PointConfig { period_ms, ..point }
    }

    fn shape(points: &[PointConfig]) -> Vec<(u16, u16, Vec<usize>)> {
        plan(points.iter().enumerate()).into_iter().map(|b| (b.address, b.count, b.points)).collect()
    }

    #[test]
    fn neighbours_are_merged_and_gaps_tables_and_periods_are_not() {
        let h = |address, t| point(Table::Holding, address, t, 1000);
        let points = [
            h(2, RawType::F32),
            h(0, RawType::U32),
            h(4, RawType::String),
            h(20, RawType::U16),
            point(Table::Input, 21, RawType::U16, 1000),
            point(Table::Holding, 21, RawType::U16, 500),
            h(3, RawType::U16), // inside of the first
        ];
        assert_eq!(
            shape(&points),
            [(21, 1, vec![4]), (21, 1, vec![5]), (0, 14, vec![1, 0, 6, 2]), (20, 1, vec![3])]
        );
    }

    #[test]
    fn blocks_end_at_the_limits_without_splitting_a_point() {
        let registers: Vec<_> = (0..80).map(|n| point(Table::Holding, n * 2, RawType::F32, 1000)).collect();
        let sizes: Vec<_> = shape(&registers).iter().map(|b| (b.0, b.1)).collect();
        assert_eq!(sizes, [(0, 124), (124, 36)]);
        let bits: Vec<_> = (0..2500).map(|n| point(Table::Coil, n, RawType::Bool, 1000)).collect();
        let sizes: Vec<_> = shape(&bits).iter().map(|b| (b.0, b.1)).collect();
        assert_eq!(sizes, [(0, 2000), (2000, 500)]);
    }

    #[test]
    fn the_last_addresses_are_read() {
        let points = [point(Table::Holding, 65_534, RawType::U32, 1000)];
        assert_eq!(shape(&points), [(65_534, 2, vec![0])]);
    }

    proptest! {
        #[test]
        fn every_point_is_read_once_and_within_its_block(
            points in prop::collection::vec((0u16..400, 0usize..4, 0usize..4, 1u64..3), 0..60)
        ) {
            let tables = [Table::Holding, Table::Input, Table::Coil, Table::Discrete];
            let types = [RawType::U16, RawType::F32, RawType::F64, RawType::String];
            let points: Vec<_> = points.into_iter().map(|(address, table, t, period)| {
                let table = tables[table];
                point(table, address, if table.is_bits() { RawType::Bool } else { types[t] }, period * 100)
            }).collect();
            let mut seen = vec![0; points.len()];
            for block in plan(points.iter().enumerate()) {
                let limit = if block.table.is_bits() { MAX_BITS } else { MAX_REGISTERS };
                prop_assert!(block.count <= limit);
                let mut covered = vec![false; block.count.into()];
                for i in block.points {
                    let p = &points[i];
                    seen[i] += 1;
                    prop_assert_eq!(p.table, block.table);
                    prop_assert_eq!(Duration::from_millis(p.period_ms), block.period);
                    prop_assert!(p.address >= block.address);
                    let from = usize::from(p.address - block.address);
                    prop_assert!(from + usize::from(p.count()) <= block.count.into());
                    covered[from..from + usize::from(p.count())].fill(true);
                }
                prop_assert!(covered.into_iter().all(|c| c), "an address is read that no point needs");
            }
            prop_assert!(seen.into_iter().all(|n| n == 1));
        }
    }
}
