import { type Fragment, literal } from "./fragment.ts"

/** The qualified names. Statements never rely on `search_path`: a pooler may have changed it. */
export interface Tables {
  readonly schema: string
  /** The schema's name as it stands in a statement. */
  readonly quoted: string
  readonly threads: Fragment
  readonly checkpoints: Fragment
  readonly pendingWrites: Fragment
  readonly questions: Fragment
  readonly leases: Fragment
  readonly migrations: Fragment
  /** As the migrator wants it, which quotes it as an identifier. */
  readonly migrationsTable: string
}

export const make = (schema: string): Tables => {
  const quoted = `"${schema.replaceAll("\"", "\"\"")}"`
  const table = (name: string): Fragment => literal(`${quoted}.${name}`)
  return {
    schema,
    quoted,
    threads: table("checkpoint_threads"),
    checkpoints: table("checkpoints"),
    pendingWrites: table("checkpoint_pending_writes"),
    questions: table("checkpoint_questions"),
    leases: table("checkpoint_leases"),
    migrations: table("checkpoint_migrations"),
    migrationsTable: `${schema}.checkpoint_migrations`
  }
}
