//! Tests of the copy that is kept.

use super::*;

fn files(dir: &Path, main: &str, more: &str) -> (PathBuf, Vec<Source>) {
    let path = dir.join("box.toml");
    fs::create_dir_all(dir.join("conf.d")).unwrap();
    fs::write(&path, main).unwrap();
    fs::write(dir.join("conf.d/a.toml"), more).unwrap();
    let sources = read(&path).unwrap();
    (path, sources)
}

#[test]
fn what_was_kept_runs_when_the_files_are_spoilt_and_they_are_read_again_by_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir_all(&data).unwrap();
    let main = format!("[gateway]\nid = \"g1\"\ndata_dir = {data:?}\n");
    let (path, sources) = files(dir.path(), &main, "[api]\nlisten = \"127.0.0.1:8499\"\n");
    let none = Mistakes(vec![]);
    assert!(load_last_good(&path, &none).is_none(), "nothing was kept yet");
    assert!(stage(&data, &sources).unwrap());
    assert!(load_last_good(&path, &none).is_none(), "it has not proven itself");
    keep(&data).unwrap();
    assert!(!stage(&data, &sources).unwrap(), "it is kept already");
    let (_, other) = files(dir.path(), &main, "[api]\nlisten = \"127.0.0.1:8498\"\n");
    assert!(stage(&data, &other).unwrap());
    assert!(stage(&data, &sources).is_ok_and(|new| !new), "and the one that waited is given up");
    assert!(stage(&data, &other).unwrap());
    keep(&data).unwrap();
    assert!(stage(&data, &sources).unwrap());
    keep(&data).unwrap();
    for spoilt in ["[gateway\n", "[gateway]\nid = 5\n"] {
        let main = format!("{spoilt}data_dir = {data:?}\n");
        let (path, _) = files(dir.path(), &main, "[api]\nlisten = \"127.0.0.1:8499\"\n");
        let mistakes = Config::load(&path).unwrap_err();
        let config = load_last_good(&path, &mistakes).unwrap();
        assert_eq!((config.id.as_str(), config.api.listen.port()), ("g1", 8499));
        assert_eq!(config.file, path);
        assert_eq!(config.instead_of.len(), mistakes.0.len());
    }
    // Cut off between the two renames: the copy before is whole.
    fs::rename(data.join("last-good"), data.join("last-good.old")).unwrap();
    assert!(load_last_good(&path, &none).is_some());
    // And cut off there once more, before the next one is in its place: the copy before is the only one yet.
    let (_, other) = files(dir.path(), &main, "[api]\nlisten = \"127.0.0.1:8497\"\n");
    assert!(stage(&data, &other).unwrap());
    make_room(&data).unwrap();
    let kept = load_last_good(&path, &none).unwrap();
    assert_eq!(kept.api.listen.port(), 8499);
    keep(&data).unwrap();
    assert_eq!(load_last_good(&path, &none).unwrap().api.listen.port(), 8497);
    assert!(!data.join("last-good.old").exists());
}
