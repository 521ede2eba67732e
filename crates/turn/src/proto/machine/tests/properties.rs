//! Arbitrary messages, times and paths: the machine never panics, and its books stay balanced.

use proptest::prelude::*;

use super::*;
use crate::fuzzing;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_parse_or_do_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzzing::message(&bytes);
    }

    #[test]
    fn any_story_leaves_the_books_balanced(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzzing::machine(&bytes);
    }

    /// What the writer writes the parser reads.
    #[test]
    fn messages_round_trip(
        attributes in proptest::collection::vec((any::<u16>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..10),
        transaction in any::<[u8; 12]>(),
        number in 0u16..0x1000,
    ) {
        let reserved = [MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, FINGERPRINT];
        let attributes: Vec<_> = attributes.into_iter().filter(|(kind, _)| !reserved.contains(kind)).collect();
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, Class::Indication, Method::Other(number), transaction);
        for (kind, value) in &attributes {
            writer.attribute(*kind, value);
        }
        writer.sign(Integrity::Sha256, &Key::short_term("k")).fingerprint();
        let message = Message::parse(&bytes).expect("our own message");
        prop_assert!(message.verify(&Key::short_term("k")) && !message.verify(&Key::short_term("l")));
        prop_assert_eq!(message.transaction(), transaction);
        for (kind, _) in &attributes {
            let written: Vec<_> = attributes.iter().filter(|(other, _)| other == kind).map(|(_, value)| &value[..]).collect();
            prop_assert_eq!(message.all(*kind).collect::<Vec<_>>(), written);
        }
    }
}
