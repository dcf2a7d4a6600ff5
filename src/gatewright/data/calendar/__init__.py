"""Regular steps of time: days, weekdays, months, and the seasons and calendars they follow."""
