//! The list of senders as Spout's programs keep it, and who is active.
//!
//! A mapping of 256-byte slots, packed from the first, sorted by byte; the first empty slot ends the list. Names are in
//! the system's ANSI code page and end in NUL; what lies behind the NUL is garbage. The mapping is as long as its first
//! creator made it, whatever anybody's registry says.
//!
//! Source: leadedge/Spout2, SPOUTSDK/SpoutGL/SpoutSenderNames.cpp, and dumps of live lists.

use std::collections::BTreeSet;

/// Length of a slot, and of the mapping that names the active sender, bytes.
pub const SLOT_LEN: usize = 256;

/// Slots that Spout has where its registry says nothing.
pub const DEFAULT_SLOTS: usize = 64;

/// A name as it lies in a slot: bytes of the ANSI code page, without NUL.
pub type RawName = Vec<u8>;

/// The names of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SenderList {
    names: BTreeSet<RawName>,
}

impl SenderList {
    /// Reads a mapping of any length. A name without NUL ends where its slot does; half a slot at the end is none.
    pub fn decode(map: &[u8]) -> Self {
        let names = map
            .chunks_exact(SLOT_LEN)
            .map(decode_name)
            .take_while(|name| !name.is_empty())
            .collect();
        Self { names }
    }

    /// Writes the list into a mapping, as many names as it has slots for, and clears the rest. Returns how many names
    /// found no slot.
    pub fn encode(&self, map: &mut [u8]) -> usize {
        map.fill(0);
        let mut written = 0;
        for (name, slot) in self.names.iter().zip(map.chunks_exact_mut(SLOT_LEN)) {
            slot.copy_from_slice(&encode_name(name));
            written += 1;
        }
        self.names.len() - written
    }

    /// Adds a name; false if it was there.
    pub fn insert(&mut self, name: &[u8]) -> bool {
        !name.is_empty() && self.names.insert(name.to_vec())
    }

    /// Takes a name off; false if it was not there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.names.remove(name)
    }

    /// Keeps only the names of senders that are alive.
    pub fn purge(&mut self, alive: impl FnMut(&RawName) -> bool) {
        self.names.retain(alive);
    }

    /// Whether the name is there.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.names.contains(name)
    }

    /// The names in the list's order.
    pub fn names(&self) -> impl Iterator<Item = &RawName> + Clone {
        self.names.iter()
    }
}

/// The name in a slot, or in the mapping of the active sender.
pub fn decode_name(slot: &[u8]) -> RawName {
    let end = slot.iter().position(|byte| *byte == 0);
    slot[..end.unwrap_or(slot.len())].to_vec()
}

/// A slot with this name; one that is too long is cut and still ends in NUL.
pub fn encode_name(name: &[u8]) -> [u8; SLOT_LEN] {
    let mut slot = [0; SLOT_LEN];
    let len = name.len().min(SLOT_LEN - 1);
    slot[..len].copy_from_slice(&name[..len]);
    slot
}

/// Whom a receiver without a name gets: the active sender if it lives, else the first living one. Spout itself finds
/// nobody while the name of a crashed sender stands there.
pub fn choose<'a, N: PartialEq>(
    active: Option<&N>,
    mut living: impl Iterator<Item = &'a N> + Clone,
) -> Option<&'a N> {
    living
        .clone()
        .find(|name| Some(*name) == active)
        .or_else(|| living.next())
}

/// Who is active once `closing` is gone: `None` leaves it as it is. Spout's rule: the first of the rest takes over from
/// an active one, and a last one left over is active in any case.
pub fn active_after<'a, N: PartialEq>(
    closing: &N,
    active: Option<&N>,
    rest: &'a [N],
) -> Option<&'a N> {
    match rest {
        [only] => Some(only),
        [first, ..] if active == Some(closing) => Some(first),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(names: &[&str]) -> SenderList {
        let mut list = SenderList::default();
        for name in names {
            list.insert(name.as_bytes());
        }
        list
    }

    #[test]
    fn names_are_packed_and_sorted_by_byte() {
        let mut map = vec![0xaa; 4 * SLOT_LEN];

        assert_eq!(list(&["b", "Z", "a"]).encode(&mut map), 0);

        assert_eq!(&map[..2], b"Z\0");
        assert_eq!(&map[SLOT_LEN..SLOT_LEN + 2], b"a\0");
        assert_eq!(&map[2 * SLOT_LEN..2 * SLOT_LEN + 2], b"b\0");
        assert!(map[3 * SLOT_LEN..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn garbage_behind_a_name_and_behind_the_list_is_no_name() {
        let mut map = vec![0xff; 5 * SLOT_LEN];
        list(&["one", "two"]).encode(&mut map[..3 * SLOT_LEN]);
        map[4..SLOT_LEN].fill(b'x');

        assert_eq!(SenderList::decode(&map), list(&["one", "two"]));
    }

    #[test]
    fn a_full_map_has_no_end_mark_and_leaves_names_out() {
        let mut map = vec![0; 2 * SLOT_LEN];

        assert_eq!(list(&["a", "b", "c"]).encode(&mut map), 1);

        assert_eq!(SenderList::decode(&map), list(&["a", "b"]));
    }

    #[test]
    fn a_truncated_map_and_a_name_without_end_are_read_as_far_as_they_go() {
        let mut map = vec![b'x'; SLOT_LEN + 100];

        assert_eq!(SenderList::decode(&map).names().count(), 1);
        assert_eq!(
            SenderList::decode(&map).names().next().map(Vec::len),
            Some(256)
        );
        map.truncate(10);
        assert_eq!(SenderList::decode(&map), SenderList::default());
    }

    #[test]
    fn the_dead_are_purged() {
        let mut senders = list(&["alive", "dead"]);

        senders.purge(|name| name == b"alive");

        assert_eq!(senders, list(&["alive"]));
        assert!(!senders.remove(b"dead"));
    }

    #[test]
    fn a_dead_active_sender_hides_nobody() {
        let living = ["a", "b"];

        assert_eq!(choose(Some(&"b"), living.iter()), Some(&"b"));
        assert_eq!(choose(Some(&"crashed"), living.iter()), Some(&"a"));
        assert_eq!(choose(None, living.iter()), Some(&"a"));
        assert_eq!(choose(Some(&"b"), [].iter()), None);
    }

    #[test]
    fn the_first_of_the_rest_takes_over() {
        assert_eq!(active_after(&"x", Some(&"x"), &["a", "b"]), Some(&"a"));
        assert_eq!(active_after(&"x", Some(&"b"), &["a", "b"]), None);
        assert_eq!(active_after(&"x", Some(&"y"), &["a"]), Some(&"a"));
        assert_eq!(active_after(&"x", Some(&"x"), &[]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_list_that_survives_writing(map in prop::collection::vec(any::<u8>(), 0..2000)) {
            let senders = SenderList::decode(&map);
            let mut again = vec![0x55; 8 * SLOT_LEN];
            prop_assert_eq!(senders.encode(&mut again), 0);

            let cut = |names: &SenderList| names.names().map(|name| name[..name.len().min(255)].to_vec()).collect::<BTreeSet<_>>();
            prop_assert_eq!(cut(&SenderList::decode(&again)), cut(&senders));
        }
    }
}
