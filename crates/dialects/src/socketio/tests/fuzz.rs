//! The fuzz bodies, run over what the parsers know and small changes of it, so that they can't rot.

use proptest::prelude::*;

use super::super::fuzzing;

const SEEDS: [&[u8]; 14] = [
    b"4hello\x1ebAQID\x1e2probe",
    b"6:4hello10:b4AQIDBA==",
    b"\x00\x02\xff4a\x01\x03\xff\x04\x01\x02",
    b"d=6%3A4he%5Cnl",
    b"0{\"token\":\"123\"}",
    b"0/admin,{\"pid\":\"x\",\"offset\":\"z.1\"}",
    b"2/admin,12[\"foo\",{\"a\":[1,2.5,-3,null]}]",
    b"52-[\"baz\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]\xfeb\x01\xfeb\x02",
    b"61-15[\"bar\",{\"_placeholder\":true,\"num\":0}]\xfeb\x00",
    b"510000-[\"x\"]",
    b"b\x85\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa2hi\x01\xa2id\x03\xa7options\x80",
    b"b\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x93\xa2hi\xc4\x02\x01\x02\xd7\xff\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\xdd\xff\xff\xff\xff\xdf\xff\xff\xff\xff",
    b"\x93\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\xd3\x80\x00\x00\x00\x00\x00\x00\x00\xc7\x0c\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
];

fn run(bytes: &[u8]) {
    fuzzing::payloads(bytes);
    fuzzing::packets(bytes);
    fuzzing::messages(bytes);
    fuzzing::messagepack(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn small_changes_are_survived(seed in 0..SEEDS.len(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), cut in any::<prop::sample::Index>()) {
        let mut bytes = SEEDS[seed].to_vec();
        run(&bytes);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        run(&bytes);
        run(&bytes[..cut.index(bytes.len())]);
    }
}
