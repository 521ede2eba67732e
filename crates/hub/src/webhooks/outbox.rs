//! The stored outbox of one webhook: what waits is in a file, so that it outlives the process.
//!
//! ```text
//! "omnivox-outbox-1\n"  (length u32, CRC-32 u32, record)*         numbers little-endian
//! record: 1, number, id, channel, end, event                      something waits
//!         2, number*                                              it does no longer
//! ```
//!
//! Records are only ever appended. A process that is killed loses nothing of what was appended; a machine that loses its power nothing of what
//! was synced, and every append of new events is. When more of the file is dead than alive it is written anew beside and renamed. At a record
//! that is torn or damaged the file is cut: what stands before it is good.
//!
//! Invariant: the file is at most twice what waits, and two mebibytes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use omnivox_core::name::{ChannelName, UserId};

const MAGIC: &[u8] = b"omnivox-outbox-1\n";
/// Length and checksum.
const HEAD_BYTES: usize = 8;
/// The largest record: an event with a message of the largest size that can be set, and its names.
const RECORD_BYTES_MAX: usize = 256 << 20;
/// Dead bytes that are not worth writing the file anew.
const DEAD_BYTES_MAX: u64 = 1 << 20;

/// Something that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    pub(super) number: u64,
    pub(super) id: Box<str>,
    pub(super) channel: ChannelName,
    pub(super) end: End,
    pub(super) event: Bytes,
}

/// Whether it is held back, and what takes it back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// It is not.
    None,
    /// A subscriber of the channel.
    Channel,
    /// The user, in the channel.
    User(UserId),
}

/// What is appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Record {
    /// Something waits.
    Waits(Stored),
    /// These wait no longer.
    Done(Vec<u64>),
}

/// The file.
#[derive(Debug)]
pub(super) struct Outbox {
    path: PathBuf,
    file: File,
    /// The end of the last good record.
    length: u64,
    /// Where the records of what waits are.
    live: BTreeMap<u64, (u64, u32)>,
    live_bytes: u64,
}

/// What was found in a file.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) outbox: Outbox,
    /// What waits, in order.
    pub(super) waiting: Vec<Stored>,
    /// Bytes that were cut off.
    pub(super) cut_bytes: u64,
}

impl Outbox {
    /// Opens the file, or begins one.
    pub(super) fn open(path: &Path) -> io::Result<Found> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let size = file.metadata()?.len();
        let mut magic = Vec::new();
        (&file).take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        let mut outbox = Self { path: path.to_owned(), file, length: MAGIC.len() as u64, live: BTreeMap::new(), live_bytes: 0 };
        let mut waiting = BTreeMap::new();
        if magic == MAGIC {
            outbox.read(size, &mut waiting)?;
        } else {
            outbox.file.set_len(0)?;
            outbox.file.write_all_at(MAGIC, 0)?;
        }
        let cut_bytes = size.saturating_sub(outbox.length);
        outbox.file.set_len(outbox.length)?;
        file = outbox.file.try_clone()?;
        file.sync_data()?;
        Ok(Found { outbox, waiting: waiting.into_values().collect(), cut_bytes })
    }

    fn read(&mut self, size: u64, waiting: &mut BTreeMap<u64, Stored>) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.length))?;
        let mut reader = io::BufReader::with_capacity(1 << 16, self.file.try_clone()?);
        while let Some(record) = next_record(&mut reader, size.saturating_sub(self.length))? {
            let length = record.len() as u32;
            match decode(&record) {
                Some(Record::Waits(stored)) => {
                    self.lives(stored.number, length);
                    waiting.insert(stored.number, stored);
                }
                Some(Record::Done(numbers)) => {
                    for number in numbers {
                        waiting.remove(&number);
                        self.dies(number);
                    }
                }
                None => break,
            }
            self.length += (HEAD_BYTES + record.len()) as u64;
        }
        Ok(())
    }

    fn lives(&mut self, number: u64, length: u32) {
        self.dies(number);
        self.live.insert(number, (self.length, length));
        self.live_bytes += HEAD_BYTES as u64 + u64::from(length);
    }

    fn dies(&mut self, number: u64) {
        if let Some((_, length)) = self.live.remove(&number) {
            self.live_bytes -= HEAD_BYTES as u64 + u64::from(length);
        }
    }

    /// Appends records; what waits newly is on the disk when this returns. After an error the file is as it was before.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut lengths = Vec::with_capacity(records.len());
        for record in records {
            let begin = bytes.len();
            encode(record, &mut bytes);
            lengths.push((bytes.len() - begin - HEAD_BYTES) as u32);
        }
        if let Err(error) = self.file.write_all_at(&bytes, self.length) {
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        for (record, length) in records.iter().zip(lengths) {
            match record {
                Record::Waits(stored) => self.lives(stored.number, length),
                Record::Done(numbers) => numbers.iter().for_each(|number| self.dies(*number)),
            }
            self.length += HEAD_BYTES as u64 + u64::from(length);
        }
        let dead = self.length - MAGIC.len() as u64 - self.live_bytes;
        if dead > self.live_bytes.max(DEAD_BYTES_MAX) {
            return self.write_anew();
        }
        if records.iter().any(|record| matches!(record, Record::Waits(_))) {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Writes what is alive into a new file that takes the place of this one.
    fn write_anew(&mut self) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let mut writer = io::BufWriter::with_capacity(1 << 16, file);
        writer.write_all(MAGIC)?;
        let (mut live, mut length) = (BTreeMap::new(), MAGIC.len() as u64);
        let mut record = Vec::new();
        for (number, (at, bytes)) in &self.live {
            record.resize(HEAD_BYTES + *bytes as usize, 0);
            self.file.read_exact_at(&mut record, *at)?;
            writer.write_all(&record)?;
            live.insert(*number, (length, *bytes));
            length += record.len() as u64;
        }
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_data()?;
        std::fs::rename(&beside, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        (self.file, self.live, self.length) = (file, live, length);
        Ok(())
    }
}

/// The next good record of at most the bytes that are left.
fn next_record(reader: &mut impl io::Read, left: u64) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; HEAD_BYTES];
    if left < HEAD_BYTES as u64 {
        return Ok(None);
    }
    reader.read_exact(&mut head)?;
    let (length, sum) = head.split_at(4);
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap_or_default());
    let (length, sum) = (word(length) as usize, word(sum));
    if length > RECORD_BYTES_MAX || (HEAD_BYTES + length) as u64 > left {
        return Ok(None);
    }
    let mut record = vec![0; length];
    reader.read_exact(&mut record)?;
    Ok((crc32fast::hash(&record) == sum).then_some(record))
}

const WAITS: u8 = 1;
const DONE: u8 = 2;

fn encode(record: &Record, into: &mut Vec<u8>) {
    let begin = into.len();
    into.extend_from_slice(&[0; HEAD_BYTES]);
    let text = |bytes: &[u8], into: &mut Vec<u8>| {
        into.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        into.extend_from_slice(bytes);
    };
    match record {
        Record::Waits(stored) => {
            into.push(WAITS);
            into.extend_from_slice(&stored.number.to_le_bytes());
            text(stored.id.as_bytes(), into);
            text(stored.channel.as_str().as_bytes(), into);
            let (end, user) = match &stored.end {
                End::None => (0, ""),
                End::Channel => (1, ""),
                End::User(user) => (2, user.as_str()),
            };
            into.push(end);
            text(user.as_bytes(), into);
            text(&stored.event, into);
        }
        Record::Done(numbers) => {
            into.push(DONE);
            numbers.iter().for_each(|number| into.extend_from_slice(&number.to_le_bytes()));
        }
    }
    let record = &into[begin + HEAD_BYTES..];
    let (length, sum) = (record.len() as u32, crc32fast::hash(record));
    into[begin..begin + 4].copy_from_slice(&length.to_le_bytes());
    into[begin + 4..begin + HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
}

fn decode(record: &[u8]) -> Option<Record> {
    let (kind, mut rest) = record.split_first()?;
    match *kind {
        WAITS => {
            let number = u64::from_le_bytes(rest.split_off(..8)?.try_into().ok()?);
            let id = std::str::from_utf8(text(&mut rest)?).ok()?.into();
            let channel = ChannelName::parse(std::str::from_utf8(text(&mut rest)?).ok()?).ok()?;
            let end = rest.split_off_first()?;
            let user = std::str::from_utf8(text(&mut rest)?).ok()?;
            let end = match end {
                0 => End::None,
                1 => End::Channel,
                2 => End::User(UserId::parse(user).ok()?),
                _ => return None,
            };
            let event = Bytes::copy_from_slice(text(&mut rest)?);
            rest.is_empty().then_some(Record::Waits(Stored { number, id, channel, end, event }))
        }
        DONE => {
            let (numbers, rest) = rest.as_chunks::<8>();
            rest.is_empty().then(|| Record::Done(numbers.iter().map(|number| u64::from_le_bytes(*number)).collect()))
        }
        _ => None,
    }
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(rest.split_off(..4)?.try_into().ok()?);
    rest.split_off(..length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of the test's own.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("omnivox-outbox-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("one.outbox")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn waits(number: u64, end: End, bytes: usize) -> Stored {
        let channel = ChannelName::parse("chat: ü").unwrap();
        Stored { number, id: format!("id-{number}").into(), channel, end, event: vec![b'x'; bytes].into() }
    }

    fn numbers(found: &Found) -> Vec<u64> {
        found.waiting.iter().map(|stored| stored.number).collect()
    }

    #[test]
    fn what_waits_is_there_again_and_what_is_done_is_not() {
        let folder = Folder::new("again");
        let mut outbox = Outbox::open(&folder.file()).unwrap().outbox;
        let user = End::User(UserId::parse("ana").unwrap());
        let all = [waits(1, End::None, 10), waits(2, End::Channel, 0), waits(3, user, 5), waits(4, End::None, 3)];
        outbox.append(&all.clone().map(Record::Waits)).unwrap();
        outbox.append(&[Record::Done(vec![1, 9])]).unwrap();
        drop(outbox);
        let found = Outbox::open(&folder.file()).unwrap();
        assert_eq!((&found.waiting[..], found.cut_bytes), (&all[1..], 0));
    }

    #[test]
    fn a_damaged_end_is_cut_and_the_rest_is_good() {
        let folder = Folder::new("damaged");
        let mut outbox = Outbox::open(&folder.file()).unwrap().outbox;
        (1..=3).for_each(|number| outbox.append(&[Record::Waits(waits(number, End::None, 100))]).unwrap());
        drop(outbox);
        let whole = std::fs::read(folder.file()).unwrap();
        let record = (whole.len() - MAGIC.len()) / 3;
        // Cut anywhere, or damaged anywhere: what stands before is there, and what is appended afterwards too.
        let check = |damaged: Vec<u8>, expected: &[u64]| {
            std::fs::write(folder.file(), damaged).unwrap();
            let mut found = Outbox::open(&folder.file()).unwrap();
            assert_eq!(numbers(&found), expected);
            found.outbox.append(&[Record::Waits(waits(9, End::None, 1))]).unwrap();
            drop(found);
            let again = Outbox::open(&folder.file()).unwrap();
            assert_eq!((numbers(&again), again.cut_bytes), ([expected, &[9]].concat(), 0));
        };
        for cut in (0..whole.len()).step_by(5) {
            let kept = (cut.saturating_sub(MAGIC.len()) / record) as u64;
            check(whole[..cut].to_vec(), &(1..=kept).collect::<Vec<_>>());
        }
        for at in (MAGIC.len()..whole.len()).step_by(23) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            let kept = ((at - MAGIC.len()) / record) as u64;
            check(damaged, &(1..=kept).collect::<Vec<_>>());
        }
        check(b"something else altogether".to_vec(), &[]);
    }

    #[test]
    fn the_file_stays_small_while_events_come_and_go() {
        let folder = Folder::new("small");
        let mut outbox = Outbox::open(&folder.file()).unwrap().outbox;
        outbox.append(&[Record::Waits(waits(0, End::Channel, 1_000))]).unwrap();
        let mut largest = 0;
        for number in 1..100 {
            outbox.append(&[Record::Waits(waits(number, End::None, 100_000))]).unwrap();
            outbox.append(&[Record::Done(vec![number])]).unwrap();
            largest = largest.max(std::fs::metadata(folder.file()).unwrap().len());
        }
        assert!(largest < 2 * DEAD_BYTES_MAX, "{largest}");
        drop(outbox);
        let found = Outbox::open(&folder.file()).unwrap();
        assert_eq!(found.waiting, [waits(0, End::Channel, 1_000)]);
    }
}
