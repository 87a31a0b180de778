//! What is left after a loss of power in the middle of a call.

use super::*;

/// A program is killed between a rename and the note of it. What was synced before is whole under either name.
#[test]
fn a_rename_that_was_not_noted_is_no_write_to_the_file_that_it_replaced() {
    let (mut old, mut new) = (0, 0);
    for seed in 1..200 {
        let above = tempfile::tempdir().expect("a folder");
        let root = above.path().join("data");
        fs::create_dir(&root).expect("a folder");
        let (path, beside) = (root.join("gone.json"), root.join("gone.tmp"));
        let (before, after) = (vec![b'a'; 3000], vec![b'b'; 5000]);
        fs::write(&path, &before).expect("a file");
        fs::write(&beside, &after).expect("a file");
        let mut disk = Disk::new(&root, &above.path().join("journal"));
        disk.rebase();
        fs::rename(&beside, &path).expect("renamed");
        disk.agree();
        disk.lose_power(seed);
        let left = fs::read(&path).expect("a file");
        assert!(left == before || left == after, "seed {seed}: {} bytes, torn", left.len());
        old += usize::from(left == before);
        new += usize::from(left == after);
    }
    assert!(old > 20 && new > 20, "{old} and {new}: both are possible");
}
