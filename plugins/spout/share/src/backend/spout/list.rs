//! The list of senders and the active one, in the mappings that all of Spout's programs share.

use std::collections::BTreeSet;
use std::sync::Mutex;

use windows::core::Result;

use super::kernel::Map;
use super::text;
use crate::directory::{
    RawName, SLOT_LEN, SenderList, active_after, choose, decode_name, encode_name,
};
use crate::record::{RECORD_LEN, Record};

const LIST: &[u8] = b"SpoutSenderNames";
const ACTIVE: &[u8] = b"ActiveSenderName";

/// Numbers tried for a name that is taken.
const NAMES: u32 = 1000;

/// The senders of this process: Spout's records name programs, and two runs of one program are not one process.
static OWN: Mutex<BTreeSet<RawName>> = Mutex::new(BTreeSet::new());

/// Whether this process registered the sender.
pub(super) fn is_own(name: &RawName) -> bool {
    OWN.lock().unwrap().contains(name)
}

/// A registered sender: its record lives as long as this.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: RawName,
    record: Option<Map>,
    list: Map,
    _active: Map,
}

/// Slots that are used of a mapping: what the registry allows, and the mapping has.
fn slots_len(map: &Map) -> usize {
    (text::most_senders() * SLOT_LEN).min(map.len() / SLOT_LEN * SLOT_LEN)
}

fn is_alive(name: &RawName) -> bool {
    Map::open(name).is_ok()
}

/// The names in the list that are alive.
pub(super) fn living() -> SenderList {
    let Ok(map) = Map::open(LIST) else {
        return SenderList::default();
    };
    let mut list = {
        // Without the lock rather than not at all: somebody may hang in it.
        let _held = map.hold();
        SenderList::decode(&map.read(slots_len(&map)))
    };
    list.purge(is_alive);
    list
}

/// Whom a receiver without a name gets.
pub(super) fn active() -> Option<RawName> {
    let named = Map::open(ACTIVE).ok().map(|map| {
        let _held = map.hold();
        decode_name(&map.read(SLOT_LEN))
    });
    let living = living();
    choose(named.as_ref(), living.names()).cloned()
}

/// Makes a sender active.
pub(super) fn set_active(name: &[u8]) -> Result<Map> {
    let map = Map::create(ACTIVE, SLOT_LEN)?;
    let _held = map.hold();
    map.write(&encode_name(name));
    drop(_held);
    Ok(map)
}

/// What a sender says of itself now. Nothing is kept open: that would keep a dead sender's record alive.
pub(super) fn record(name: &[u8]) -> Option<Record> {
    let map = Map::open(name).ok()?;
    let bytes = {
        let _held = map.hold();
        map.read(RECORD_LEN)
    };
    Some(Record::decode(bytes.first_chunk()?))
}

impl Entry {
    /// Registers under `name`, or the first of `numbered` that is free. The record is there before the name is.
    pub(super) fn register(
        numbered: impl Fn(u32) -> Option<RawName>,
        record: &Record,
        make_active: bool,
    ) -> Result<Self> {
        let list = Map::create(LIST, text::most_senders() * SLOT_LEN)?;
        let held = list.hold();
        let mut names = SenderList::decode(&list.read(slots_len(&list)));
        names.purge(is_alive);
        // A name can be taken without being listed, when the list is full, or by an object of another kind.
        let free = (0..NAMES).filter_map(numbered).find_map(|name| {
            let map = Map::create(&name, RECORD_LEN).ok()?;
            (map.is_new && !names.contains(&name)).then_some((name, map))
        });
        let (name, map) = free.ok_or_else(windows::core::Error::empty)?;
        map.write(&record.encode());
        names.insert(&name);
        write(&list, &names);
        drop(held);
        let active = match make_active {
            true => set_active(&name)?,
            false => Map::create(ACTIVE, SLOT_LEN)?,
        };
        OWN.lock().unwrap().insert(name.clone());
        Ok(Self {
            name,
            record: Some(map),
            list,
            _active: active,
        })
    }

    /// Says something else from now on.
    pub(super) fn update(&self, record: &Record) {
        if let Some(map) = &self.record {
            let _held = map.hold();
            map.write(&record.encode());
        }
    }
}

fn write(list: &Map, names: &SenderList) {
    let mut bytes = vec![0; slots_len(list)];
    let left_out = names.encode(&mut bytes);
    if left_out > 0 {
        tracing::warn!(
            "Spout's list is full: {left_out} senders are found only by those who know their name"
        );
    }
    list.write(&bytes);
}

impl Drop for Entry {
    fn drop(&mut self) {
        // First of all the proof of life.
        self.record = None;
        OWN.lock().unwrap().remove(&self.name);
        let before = active_name();
        let rest: Vec<RawName> = {
            let _held = self.list.hold();
            let mut names = SenderList::decode(&self.list.read(slots_len(&self.list)));
            names.remove(&self.name);
            names.purge(is_alive);
            write(&self.list, &names);
            names.names().cloned().collect()
        };
        if let Some(next) = active_after(&self.name, before.as_ref(), &rest)
            && let Err(error) = set_active(next)
        {
            tracing::warn!("the active sender could not be handed on: {error}");
        }
    }
}

fn active_name() -> Option<RawName> {
    let map = Map::open(ACTIVE).ok()?;
    let _held = map.hold();
    Some(decode_name(&map.read(SLOT_LEN)))
}
