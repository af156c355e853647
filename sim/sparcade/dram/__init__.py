"""Memory models behind the fetcher; `ideal` here, the cycle-exact DRAM controller with the DRAM issue."""
