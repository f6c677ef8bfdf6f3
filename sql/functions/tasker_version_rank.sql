-- tasker_version_rank: text whose byte order is the semantic order: 1.9.0 < 1.10.0-rc.1 < 1.10.0.
--   numbers are padded, those of a pre-release, which may be long, led by their length; a release ends in '~', which sorts after every pre-release.
create or replace function tasker_version_rank (p_version text)
  returns text
  language sql immutable strict parallel safe
as $$
  select (select string_agg(lpad(part, 10, '0'), '.' order by place)
            from unnest(string_to_array(split_part(split_part(p_version, '+', 1), '-', 1), '.')) with ordinality as number (part, place))
      || case when position('-' in split_part(p_version, '+', 1)) = 0 then '~'
              else '-' || (select string_agg(case when part ~ '^[0-9]+$' then '0' || lpad(length(ltrim(part, '0'))::text, 2, '0') || ltrim(part, '0') else '1' || part end, ' ' order by place)
                             from unnest(string_to_array(substr(split_part(p_version, '+', 1), position('-' in p_version) + 1), '.')) with ordinality as identifier (part, place))
         end
$$;
