-- tasker_bin_limits: the limits between the bins of durations, in seconds: ten to a decade, from 1 ms to 11.6 days.
--   So a figure taken from the bins is never further from the true one than 26 %. Round ones, so that limits of half a second, a second or a minute are near.
create or replace function tasker_bin_limits ()
  returns float8[]
  language sql immutable parallel safe
as $$
  select array[0.001, 0.00125, 0.0016, 0.002, 0.0025, 0.00315, 0.004, 0.005, 0.0063, 0.008,
               0.01, 0.0125, 0.016, 0.02, 0.025, 0.0315, 0.04, 0.05, 0.063, 0.08,
               0.1, 0.125, 0.16, 0.2, 0.25, 0.315, 0.4, 0.5, 0.63, 0.8,
               1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8,
               10, 12.5, 16, 20, 25, 31.5, 40, 50, 63, 80,
               100, 125, 160, 200, 250, 315, 400, 500, 630, 800,
               1000, 1250, 1600, 2000, 2500, 3150, 4000, 5000, 6300, 8000,
               10000, 12500, 16000, 20000, 25000, 31500, 40000, 50000, 63000, 80000,
               100000, 125000, 160000, 200000, 250000, 315000, 400000, 500000, 630000, 800000,
               1000000]::float8[]
$$;
