//! What a daemon tells, in whatever order and however much.

use super::{Bench, log, vertex};

#[test]
fn what_comes_out_of_order_and_twice_is_told_right() {
    let bench = Bench::new();
    bench.daemon.solves(|solving| async move {
        let (make, copy) = ("[2/2] RUN make", "[1/2] COPY a /");
        for update in [
            log(make, b"mak"),
            vertex(make, "done"),
            log(make, b"late\n"),
            vertex(copy, "announced"),
            vertex(make, "running"),
            vertex(copy, "running"),
            vertex(copy, "running"),
            log(copy, b"bad \xff\xfe text\n"),
            log("never announced", b"whose?\n"),
            vertex(copy, "done"),
            vertex(copy, "done"),
            vertex("", "done"),
        ] {
            solving.tell(update).await;
        }
        solving.session.export("right").await
    });
    let (built, lines) = bench.watch(bench.request("a", &[]));
    let built = built.unwrap();
    assert_eq!((built.steps, built.cached_steps), (2, 0), "{lines:?}");
    assert_eq!(
        lines,
        [
            "| mak",
            "1/1 RUN make",
            "| late",
            "2/2 COPY a /",
            "| bad \u{fffd}\u{fffd} text",
            "| whose?",
        ]
    );
}

#[test]
fn a_log_of_ten_megabytes_without_an_end_comes_in_pieces() {
    const PIECE: usize = 1 << 20;
    let bench = Bench::new();
    bench.daemon.solves(|solving| async move {
        for _ in 0..10 {
            solving.tell(log("[1/1] RUN x", &vec![b'x'; PIECE])).await;
        }
        // All in one message.
        solving.tell(log("[1/1] RUN y", &"y\n".repeat(5 * PIECE).into_bytes())).await;
        solving.session.export("right").await
    });
    let (built, lines) = bench.watch(bench.request("a", &[]));
    built.unwrap();
    let [xs, ys] = ["| x", "| y"].map(|begin| {
        let of_it = lines.iter().filter(|line| line.starts_with(begin));
        of_it.map(|line| line.len() - "| ".len()).collect::<Vec<usize>>()
    });
    assert_eq!(xs.iter().sum::<usize>(), 10 * PIECE);
    assert!(xs.iter().all(|&length| length <= PIECE), "{xs:?}");
    assert_eq!(ys.len(), 5 * PIECE);
}

#[test]
fn a_status_stream_that_breaks_is_no_failure() {
    let bench = Bench::new();
    bench.daemon.solves(|solving| async move {
        solving.tell(vertex("[1/1] RUN x", "running")).await;
        let broken = tonic::Status::internal("no more of that");
        solving.updates.send(Err(broken)).await.unwrap();
        solving.session.export("right").await
    });
    let (built, lines) = bench.watch(bench.request("a", &[]));
    assert_eq!(built.unwrap().steps, 1, "{lines:?}");
}
