//! The load tool against its own floor servers: the whole way from the command line to the exit code.

use std::process::{Command, Output};

use serde_json::Value;

const TOOL: &str = env!("CARGO_BIN_EXE_omnivox-bench");

fn bench(arguments: &str, server: &str) -> Output {
    let spawn = server.replace("{tool}", TOOL);
    Command::new(TOOL).args(arguments.split_whitespace()).args(["--spawn", &spawn]).output().expect("the load tool runs")
}

fn report(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}\n{errors}"))
}

const FLOOR_A: &str = "{tool} floor --kind a --port {port}";
const FLOOR_B: &str = "{tool} floor --kind b --port {port}";

#[track_caller]
fn check_clean(arguments: &str, server: &str, deliveries_of_each: Option<u64>) {
    let output = bench(&format!("{arguments} --json"), server);
    let report = report(&output);
    assert!(output.status.success(), "{arguments}: {report:#}");
    assert_eq!(report["clean"], true);
    let contenders = report["contenders"].as_array().expect("contenders");
    assert_eq!(contenders.len(), 3, "the server and both floors");
    for contender in contenders {
        if let Some(deliveries) = deliveries_of_each {
            assert_eq!(contender["count"], deliveries, "{arguments}: {contender:#}");
        }
        assert!(contender["count"].as_u64() > Some(0), "{contender:#}");
        assert!(contender["latency_us"]["p50"].as_f64() > Some(0.0), "{contender:#}");
        assert!(contender["cpu_us_each"][0].as_f64() > Some(0.0), "{contender:#}");
    }
    for floor in ["floor A", "floor B"] {
        assert!(report["cpu_ratio_to"][floor].as_f64() > Some(0.0), "{report:#}");
    }
}

#[test]
fn fifty_subscribers_get_everything_once_and_in_order() {
    // 50 messages to 50 subscribers in each of two rounds.
    for transport in ["ws", "sse", "poll"] {
        let arguments = format!("fanout -n 50 --rate 250 --seconds 0.2 --rounds 2 --transport {transport}");
        check_clean(&arguments, FLOOR_A, Some(5_000));
    }
}

#[test]
fn saturation_and_rooms() {
    for arguments in [
        "fanout -n 50 --saturate --seconds 0.3 --rounds 1",
        "fanout -n 20 --saturate --seconds 0.3 --rounds 1 --transport poll",
        "rooms --channels 20 --subscribers-per-channel 3 --seconds 0.3 --rounds 1",
    ] {
        check_clean(arguments, FLOOR_B, None);
    }
}

#[test]
fn a_floor_may_have_several_threads() {
    let server = "{tool} floor --kind a --threads 3 --port {port}";
    for transport in ["ws", "poll"] {
        check_clean(&format!("fanout -n 50 --rate 250 --seconds 0.2 --rounds 2 --transport {transport}"), server, Some(5_000));
    }
}

#[test]
fn a_server_that_does_not_start_fails_the_run() {
    let output = bench("fanout -n 2 --rounds 1 --no-floors", "false {port}");
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("instead of serving"), "{errors}");
}

#[test]
fn echo_and_churn_beside_the_floors() {
    for arguments in [
        "echo -n 8 --seconds 0.2 --rounds 1",
        "churn -n 8 --seconds 0.2 --rounds 1",
        "churn -n 8 --seconds 0.2 --rounds 1 --transport sse --abrupt",
        "churn -n 8 --seconds 0.2 --rounds 1 --transport poll",
    ] {
        check_clean(arguments, FLOOR_A, None);
    }
}

#[test]
fn idle_memory_has_a_slope_on_every_transport() {
    let output = bench("idle --from 10 --to 400 --rest 0.05 --json", FLOOR_A);
    let report = report(&output);
    assert!(output.status.success(), "{report:#}");
    let transports = report["transports"].as_array().expect("transports");
    let names: Vec<_> = transports.iter().map(|steps| &steps["transport"]).collect();
    assert_eq!(names, ["ws", "sse", "poll"]);
    for steps in transports {
        assert_eq!(steps["steps"][0]["connections"], 10);
        assert_eq!(steps["steps"][4]["connections"], 400);
        assert!(steps["bytes_per_connection"].is_number(), "{steps:#}");
    }
}

#[test]
fn a_storm_is_clean_when_the_server_can_resume() {
    // Held polls resume by their mark even at a floor.
    let arguments = "resume-storm -n 60 --channels 3 --rate 200 --transport poll --json";
    let output = bench(arguments, FLOOR_A);
    let report = report(&output);
    assert!(output.status.success(), "{report:#}");
    assert!(report["last_caught_up_s"].as_f64() > Some(0.0), "{report:#}");
    assert!(report["deliveries_meanwhile"].as_u64() > Some(0), "{report:#}");
}

#[test]
fn a_storm_tells_what_a_server_without_history_loses() {
    // A floor forgets what it sent on WebSockets: what is published between cut and return is lost, and no client may count as caught up by that.
    let output = bench("resume-storm -n 200 --at-once 1 --rate 5000 --json --patience 1", FLOOR_A);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("clients are still behind"), "{errors}");
}
