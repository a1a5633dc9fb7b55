"""Correlate difficulty, style and reward; draw plots/correlation_analysis.png."""

from kernelsift.cli.scripts import analyze_correlation, run_script

if __name__ == "__main__":
    run_script(analyze_correlation)
