// SPDX-License-Identifier: Apache-2.0
// Copyright The headrace authors
// Writes what Java makes of "pattern TAB zone TAB milliseconds" lines: "=text", or "!message" for a refusal.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.time.Instant;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.util.Locale;

public class Formats {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        for (String line; (line = lines.readLine()) != null; ) {
            String[] parts = line.split("\t", -1);
            try {
                Instant moment = Instant.ofEpochMilli(Long.parseLong(parts[2]));
                out.println("=" + DateTimeFormatter.ofPattern(parts[0], Locale.US).format(moment.atZone(ZoneId.of(parts[1]))));
            } catch (RuntimeException refusal) {
                out.println("!" + refusal.getMessage());
            }
        }
    }
}
