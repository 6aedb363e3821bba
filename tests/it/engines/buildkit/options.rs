//! What a build can be told: network, hosts, arguments, labels, target, platform, cache and time.

use super::*;

impl Bench {
    /// The text of `/x` in the image of a request.
    fn x(&self, request: &Request) -> String {
        let built = self.build(request).unwrap();
        self.text(built.output.id.as_str(), "x")
    }

    fn config(&self, built: &Built) -> Value {
        self.daemon.get(&format!("/images/{}/json", built.output.id))
    }
}

#[test]
fn a_command_has_no_network_or_that_of_the_machine_or_one_of_its_own() {
    Bench::each(|bench| {
        let networks = |network: Option<&str>| {
            let network = network.map(str::to_owned);
            let request = bench.request("FROM @busybox\nRUN ls /sys/class/net > /x\n");
            let networks = bench.x(&Request { network, ..request });
            networks.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(networks(Some("none")), ["lo"]);
        // Those of the machine change while the daemons work; what has a bridge name stays.
        let bridge =
            bench.daemon.get("/networks/bridge")["Options"]["com.docker.network.bridge.name"]
                .clone();
        let bridge = bridge.as_str().unwrap_or("docker0").to_owned();
        assert!(networks(Some("host")).contains(&bridge), "{bridge}");
        let own = networks(None);
        assert!(!own.contains(&bridge) && own.len() == 2, "{own:?}");
        assert_eq!(networks(Some("default")).len(), 2);
    });
}

#[test]
fn a_command_finds_the_hosts_that_it_is_given() {
    Bench::each(|bench| {
        let hosts = vec!["db:10.0.0.7".to_owned(), "six:fe80::1".to_owned()];
        let request = bench.request("FROM @busybox\nRUN cat /etc/hosts > /x\n");
        let text = bench.x(&Request { hosts, ..request });
        for (address, name) in [("10.0.0.7", "db"), ("fe80::1", "six")] {
            let is_it = |line: &str| line.split_whitespace().eq([address, name]);
            assert!(text.lines().any(is_it), "{text}");
        }
    });
}

#[test]
fn arguments_labels_and_the_target_arrive() {
    Bench::each(|bench| {
        let dockerfile = "ARG WHICH=wrong\nFROM @busybox AS right\nARG GREETING\nARG UNSET=default\n\
            RUN echo \"$GREETING and $UNSET\" > /x\nFROM wrong\nRUN exit 1\nFROM $WHICH\n";
        let mut request = bench.request(dockerfile);
        request.args.insert("GREETING".into(), "a b=c 'd', \"e\" $F".into());
        request.args.insert("WHICH".into(), "right".into());
        request.labels.insert("org.example.a".into(), "x y=z \"q\", $Q".into());
        request.labels.insert("empty".into(), String::new());
        for target in [None, Some("right".to_owned()), Some("RIGHT".to_owned())] {
            let request = Request { target, ..request.clone() };
            let built = bench.build(&request).unwrap();
            let text = bench.text(built.output.id.as_str(), "x");
            assert_eq!(text, "a b=c 'd', \"e\" $F and default\n");
            let labels = &bench.config(&built)["Config"]["Labels"];
            assert_eq!(labels["org.example.a"], "x y=z \"q\", $Q");
            assert_eq!(labels["empty"], "");
        }
    });
}

#[test]
fn an_image_is_of_the_platform_that_is_asked_for() {
    Bench::each(|bench| {
        let context = bench.home.path().join("platform");
        fs::create_dir(&context).unwrap();
        fs::write(context.join("x"), "x").unwrap();
        for platform in ["linux/arm64", "linux/arm/v7"] {
            let dockerfile = "FROM scratch\nARG TARGETARCH\nARG TARGETVARIANT\nCOPY x /x\n\
                LABEL of=$TARGETARCH$TARGETVARIANT\n";
            let request = bench.with_context(&context, dockerfile);
            let platform = platform.parse().unwrap();
            let built = bench.build(&Request { platform, ..request.clone() }).unwrap();
            let config = bench.config(&built);
            let (architecture, variant) = (&config["Architecture"], &config["Variant"]);
            let name = format!(
                "{}{}",
                architecture.as_str().unwrap(),
                variant.as_str().unwrap_or_default()
            );
            assert!(["arm64", "armv7"].contains(&&*name), "{config}");
            assert_eq!(config["Config"]["Labels"]["of"], name);
        }
    });
}

#[test]
fn without_the_cache_every_step_is_done_again() {
    Bench::each(|bench| {
        let dockerfile = "FROM @busybox\nRUN cat /proc/sys/kernel/random/uuid > /x\n";
        let build = |cache| bench.build(&Request { cache, ..bench.request(dockerfile) }).unwrap();
        let text = |built: &Built| bench.text(built.output.id.as_str(), "x");
        let first = build(CacheUse::Use);
        let second = build(CacheUse::Use);
        let third = build(CacheUse::Bypass);
        assert_eq!((first.steps, first.cached_steps), (1, 0));
        assert_eq!((second.steps, second.cached_steps), (1, 1));
        assert_eq!((third.steps, third.cached_steps), (1, 0));
        assert_eq!(text(&first), text(&second));
        assert_ne!(text(&first), text(&third));
    });
}

#[test]
fn an_image_gets_the_time_that_is_asked_for_or_it_is_said_once_that_it_does_not() {
    Bench::each(|bench| {
        // The engine of the bench has built before.
        let engine = engine(&bench.daemon, bench.home.path(), &[]);
        let mut warnings = 0;
        for (epoch, time) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_000_000_000, "2001-09-09T01:46:40Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
        ] {
            for dockerfile in [
                "FROM @busybox\nENV A=1\n",
                "FROM scratch\nWORKDIR /x\n",
                "FROM @busybox\n# ARG SOURCE_DATE_EPOCH\nENV SOURCE_DATE_EPOCH=3\n",
            ] {
                let request = Request { epoch, ..bench.request(dockerfile) };
                let built = engine.build(&request, &Cancel::default(), &mut |progress| {
                    warnings += usize::from(shown(&progress).contains("`epoch`"));
                });
                let created = bench.config(&built.unwrap())["Created"].clone();
                assert_eq!(created == time, !bench.daemon.is_old(), "{dockerfile} {created}");
            }
        }
        assert_eq!(warnings, usize::from(bench.daemon.is_old()));
    });
}

#[test]
fn a_dockerfile_with_a_time_of_its_own_is_left_alone() {
    Bench::each(|bench| {
        let dockerfile =
            "FROM @busybox\nARG SOURCE_DATE_EPOCH=unset\nRUN echo $SOURCE_DATE_EPOCH > /x\n";
        // The engine of the bench may have warned before.
        let engine = engine(&bench.daemon, bench.home.path(), &[]);
        let x = |request: &Request| {
            let said = &mut |progress| assert!(!shown(&progress).contains("`epoch`"));
            let built = engine.build(request, &Cancel::default(), said).unwrap();
            bench.text(built.output.id.as_str(), "x")
        };
        let mut request = Request { epoch: 7, ..bench.request(dockerfile) };
        assert_eq!(x(&request), "unset\n");
        request.args.insert("SOURCE_DATE_EPOCH".into(), "8".into());
        assert_eq!(x(&request), "8\n");
    });
}
