"""What ``benchmarks/meets_the_brief.py`` is made of: data, cheap facts about them, requirements drawn, runs judged."""
