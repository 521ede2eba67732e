//! The sample of `turnserver.conf` that Debian ships: every option that it shows is taken over, needless, or warned of with a reason.

// parts: coturn

use omnivox_turn::import::turnserver_conf;

fn sample() -> String {
    let path = "/etc/turnserver.conf";
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}; `cargo xtask setup` installs Debian's coturn"))
}

#[test]
fn as_it_is_it_is_taken_over() {
    let imported = turnserver_conf(&sample());
    let warnings: Vec<String> = imported.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("refuses every allocation"), "Debian's file has no credentials: {warnings:?}");
}

#[test]
fn every_option_is_known() {
    let text = sample();
    let shown = text.lines().filter_map(|line| line.trim().strip_prefix('#')).map(str::trim);
    let is_option = |line: &&str| {
        let name = line.split('=').next().unwrap_or_default().trim();
        let rest_is_value = line.contains('=') || !line.contains(' ');
        rest_is_value
            && name.len() > 3
            && !line.starts_with('-')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let options: Vec<&str> = shown.filter(is_option).collect();
    assert!(options.len() > 90, "the sample has its options behind a hash: {options:?}");
    let unknown: Vec<String> = options
        .iter()
        .flat_map(|option| turnserver_conf(option).warnings)
        .filter(|warning| warning.line > 0 && !warning.text.contains("left out: ") && !warning.text.contains("it is left out"))
        .map(|warning| warning.text)
        .collect();
    assert_eq!(unknown, Vec::<String>::new());
}
