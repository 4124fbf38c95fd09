//! Places of things, in the order of a small number that each of them has.

/// Sorts the places of things, the first being 0, by their numbers; those of one number stay in order. Leaves where
/// those of each number end in `ends`, which has room for every number.
pub fn sort_places(numbers: impl Iterator<Item = usize> + Clone, ends: &mut [u32], places: &mut Vec<u32>) {
    ends.fill(0);
    let mut count = 0;
    for number in numbers.clone() {
        ends[number] += 1;
        count += 1;
    }
    let mut start = 0;
    for end in ends.iter_mut() {
        start += std::mem::replace(end, start);
    }
    // Each number's begin where they end, as long as none of them has its place.
    places.clear();
    places.resize(count, 0);
    for (place, number) in (0..).zip(numbers) {
        places[ends[number] as usize] = place;
        ends[number] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_sorted_by_number_and_stay_in_order_within_each() {
        let check = |numbers: &[usize], want: &[u32], want_ends: [u32; 4]| {
            let (mut ends, mut places) = ([9; 4], vec![7; 3]);
            sort_places(numbers.iter().copied(), &mut ends, &mut places);
            assert_eq!((places.as_slice(), ends), (want, want_ends), "{numbers:?}");
        };
        check(&[], &[], [0, 0, 0, 0]);
        check(&[3], &[0], [0, 0, 0, 1]);
        check(&[2, 0, 2, 3, 0, 2], &[1, 4, 0, 2, 5, 3], [2, 2, 5, 6]);
    }
}
