from parity.golden.cli import main

raise SystemExit(main())
